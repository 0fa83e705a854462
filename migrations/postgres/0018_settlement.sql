-- What settles invoices: payments, credit notes, credit that is used up, and giving up. All of it is only appended to.
alter table document add column due_on text collate "C";

create table payment (
    id          text collate "C" not null primary key,
    consumer    text collate "C" not null references consumer (id),
    currency    text collate "C" not null,
    -- in the minor unit, as is everything here
    amount      bigint not null check (amount > 0),
    method      text collate "C" not null,
    -- what the payer or the bank wrote
    reference   text collate "C" not null,
    -- YYYY-MM-DD
    received_on text collate "C" not null check (length(received_on) = 10),
    recorded_at bigint not null,
    -- id of a key
    recorded_by text collate "C" not null
);

create index payment_by_consumer on payment (consumer, id);

create table credit_note (
    id           text collate "C" not null primary key,
    -- 1, 2, 3
    ordinal      bigint not null unique check (ordinal > 0),
    invoice      text collate "C" not null references document (id),
    consumer     text collate "C" not null references consumer (id),
    currency     text collate "C" not null,
    net          bigint not null,
    tax          bigint not null,
    total        bigint not null check (total > 0),
    -- what of it went where: to what was owed, to the consumer's credit, back to its bank account
    settled      bigint not null check (settled >= 0),
    credited     bigint not null check (credited >= 0),
    refunded     bigint not null check (refunded >= 0),
    reason       text collate "C" not null,
    effective_on text collate "C" not null check (length(effective_on) = 10),
    recorded_at  bigint not null,
    recorded_by  text collate "C" not null,
    check (net + tax = total),
    check (settled + credited + refunded = total)
);

create index credit_note_by_invoice on credit_note (invoice);
create index credit_note_by_consumer on credit_note (consumer, id);

create table credit_note_line (
    note   text collate "C" not null references credit_note (id) deferrable initially deferred,
    -- of the invoice, from 1
    line   bigint not null,
    amount bigint not null check (amount <> 0),
    primary key (note, line)
);

create table credit_note_tax (
    note         text collate "C" not null references credit_note (id) deferrable initially deferred,
    tax          text collate "C" not null,
    jurisdiction text collate "C" not null,
    rate         numeric not null,
    amount       bigint not null,
    primary key (note, tax)
);

create table settlement (
    invoice      text collate "C" not null references document (id),
    -- 1, 2, 3 of the invoice
    seq          bigint not null,
    means        text collate "C" not null check (means in ('payment', 'credit_note', 'credit', 'prepaid', 'rewards', 'uncollectible', 'void')),
    -- above zero, but for an invoice below zero, which becomes the consumer's credit
    amount       bigint not null check (amount <> 0),
    -- the payment or the credit note
    source       text collate "C",
    reason       text collate "C",
    effective_on text collate "C" not null check (length(effective_on) = 10),
    recorded_at  bigint not null,
    -- id of a key; null where a closing did it
    recorded_by  text collate "C",
    primary key (invoice, seq),
    check ((source is not null) = (means in ('payment', 'credit_note')))
);

create index settlement_by_source on settlement (source) where source is not null;

-- Before each row, where the rows before it in the same statement can be seen.
create function settlement_is_sound() returns trigger language plpgsql as $$
declare
    total_of_invoice bigint;
begin
    -- Two that settle one invoice take turns.
    select total into total_of_invoice from document where id = new.invoice and kind = 'invoice' for update;
    if new.seq <> (select count(*) from settlement where invoice = new.invoice) + 1 then
        raise exception 'this is not the next settlement of its invoice' using errcode = '23514';
    end if;
    if coalesce((select coalesce(sum(amount), 0) from settlement where invoice = new.invoice) + new.amount
        not between least(total_of_invoice, 0) and greatest(total_of_invoice, 0), true)
    then
        raise exception 'more would be settled of an invoice than it comes to' using errcode = '23514';
    end if;
    if exists (select 1 from settlement where invoice = new.invoice and means in ('void', 'uncollectible')) then
        raise exception 'an invoice that is void is not settled' using errcode = '23514';
    end if;
    if new.means = 'void' and (new.seq <> 1 or new.amount <> total_of_invoice) then
        raise exception 'an invoice is voided before anything is settled of it, and as a whole' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger settlement_is_sound before insert on settlement
for each row execute function settlement_is_sound();

create function credit_note_is_sound() returns trigger language plpgsql as $$
begin
    if new.ordinal <> (select coalesce(max(ordinal), 0) from credit_note) + 1 then
        raise exception 'the number of the credit note is not the next one' using errcode = '23514';
    end if;
    if (select coalesce(sum(amount), 0) from credit_note_line where note = new.id) <> new.net then
        raise exception 'the lines of the credit note do not add up to its net' using errcode = '23514';
    end if;
    if (select coalesce(sum(amount), 0) from credit_note_tax where note = new.id) <> new.tax then
        raise exception 'the taxes of the credit note do not add up to its tax' using errcode = '23514';
    end if;
    if exists (
        select 1
        from credit_note_line as added
        left join document_line on document_line.document = new.invoice and document_line.line = added.line
        where added.note = new.id and coalesce(added.amount + (
            select coalesce(sum(before.amount), 0)
            from credit_note_line as before
            join credit_note on credit_note.id = before.note
            where credit_note.invoice = new.invoice and before.line = added.line
        ) not between least(document_line.amount, 0) and greatest(document_line.amount, 0), true))
    then
        raise exception 'more would be credited of a line than it comes to' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger credit_note_is_sound before insert on credit_note
for each row execute function credit_note_is_sound();

create function credit_note_part_joins_an_open_note() returns trigger language plpgsql as $$
begin
    if exists (select 1 from credit_note where id = new.note) then
        raise exception 'the credit note of this % is final', tg_argv[0] using errcode = '23514';
    end if;
    return new;
end $$;

create trigger credit_note_line_joins_an_open_note before insert on credit_note_line
for each row execute function credit_note_part_joins_an_open_note('line');
create trigger credit_note_tax_joins_an_open_note before insert on credit_note_tax
for each row execute function credit_note_part_joins_an_open_note('tax');

create function settled_is_never_changed() returns trigger language plpgsql as $$
begin
    raise exception 'what was settled is never changed' using errcode = '23514';
end $$;

create trigger payment_is_never_changed before update or delete or truncate on payment
for each statement execute function settled_is_never_changed();
create trigger credit_note_is_never_changed before update or delete or truncate on credit_note
for each statement execute function settled_is_never_changed();
create trigger credit_note_line_is_never_changed before update or delete or truncate on credit_note_line
for each statement execute function settled_is_never_changed();
create trigger credit_note_tax_is_never_changed before update or delete or truncate on credit_note_tax
for each statement execute function settled_is_never_changed();
create trigger settlement_is_never_changed before update or delete or truncate on settlement
for each statement execute function settled_is_never_changed();
