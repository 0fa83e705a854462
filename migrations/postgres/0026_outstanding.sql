-- What is outstanding of each invoice, while something is: dunning and payments look here, and not at every invoice that ever
-- was. It follows from documents and settlements, which keep it; `verify` adds it up again.
create table outstanding (
    invoice  text   collate "C" not null primary key references document (id),
    consumer text   collate "C" not null,
    due_on   text   collate "C",
    -- of the invoice's number
    ordinal  bigint not null,
    -- in the minor unit
    amount   bigint not null check (amount > 0)
);

create index outstanding_by_due on outstanding (due_on, invoice);
create index outstanding_by_consumer on outstanding (consumer, due_on, ordinal);

insert into outstanding (invoice, consumer, due_on, ordinal, amount)
select id, consumer, due_on, ordinal, owed from (
    select id, consumer, due_on, ordinal, total - coalesce((
        select cast(sum(amount) as bigint) from settlement where invoice = document.id), 0) as owed
    from document where kind = 'invoice' and total > 0) as standing
where owed > 0;

create function invoice_is_outstanding() returns trigger language plpgsql as $$
begin
    insert into outstanding (invoice, consumer, due_on, ordinal, amount)
    select id, consumer, due_on, ordinal, total from added where kind = 'invoice' and total > 0;
    return null;
end $$;

create trigger invoice_is_outstanding after insert on document
referencing new table as added for each statement execute function invoice_is_outstanding();

create function settlement_takes_from_what_is_outstanding() returns trigger language plpgsql as $$
begin
    delete from outstanding where invoice = new.invoice and amount = new.amount;
    if not found then
        update outstanding set amount = amount - new.amount where invoice = new.invoice;
    end if;
    return null;
end $$;

create trigger settlement_takes_from_what_is_outstanding after insert on settlement
for each row execute function settlement_takes_from_what_is_outstanding();

create index payout_by_state on payout (state, id);
