-- What is outstanding of each invoice, while something is: dunning and payments look here, and not at every invoice that ever
-- was. It follows from documents and settlements, which keep it; `verify` adds it up again.
create table outstanding (
    invoice  text    not null primary key references document (id),
    consumer text    not null,
    due_on   text,
    -- of the invoice's number
    ordinal  integer not null,
    -- in the minor unit
    amount   integer not null check (amount > 0)
) strict, without rowid;

create index outstanding_by_due on outstanding (due_on, invoice);
create index outstanding_by_consumer on outstanding (consumer, due_on, ordinal);

insert into outstanding (invoice, consumer, due_on, ordinal, amount)
select id, consumer, due_on, ordinal, owed from (
    select id, consumer, due_on, ordinal, total - coalesce((
        select sum(amount) from settlement where invoice = document.id), 0) as owed
    from document where kind = 'invoice' and total > 0)
where owed > 0;

create trigger invoice_is_outstanding after insert on document
when new.kind = 'invoice' and new.total > 0
begin
    insert into outstanding (invoice, consumer, due_on, ordinal, amount)
    values (new.id, new.consumer, new.due_on, new.ordinal, new.total);
end;

create trigger settlement_takes_from_what_is_outstanding after insert on settlement
begin
    delete from outstanding where invoice = new.invoice and amount = new.amount;
    update outstanding set amount = amount - new.amount where invoice = new.invoice;
end;

create index payout_by_state on payout (state, id);
