-- What settles invoices: payments, credit notes, credit that is used up, and giving up. All of it is only appended to.
alter table document add column due_on text;

create table payment (
    id          text    not null primary key,
    consumer    text    not null references consumer (id),
    currency    text    not null,
    -- in the minor unit, as is everything here
    amount      integer not null check (amount > 0),
    method      text    not null,
    -- what the payer or the bank wrote
    reference   text    not null,
    -- YYYY-MM-DD
    received_on text    not null check (length(received_on) = 10),
    recorded_at integer not null,
    -- id of a key
    recorded_by text    not null
) strict;

create index payment_by_consumer on payment (consumer, id);

create table credit_note (
    id           text    not null primary key,
    -- 1, 2, 3
    ordinal      integer not null unique check (ordinal > 0),
    invoice      text    not null references document (id),
    consumer     text    not null references consumer (id),
    currency     text    not null,
    net          integer not null,
    tax          integer not null,
    total        integer not null check (total > 0),
    -- what of it went where: to what was owed, to the consumer's credit, back to its bank account
    settled      integer not null check (settled >= 0),
    credited     integer not null check (credited >= 0),
    refunded     integer not null check (refunded >= 0),
    reason       text    not null,
    effective_on text    not null check (length(effective_on) = 10),
    recorded_at  integer not null,
    recorded_by  text    not null,
    check (net + tax = total),
    check (settled + credited + refunded = total)
) strict;

create index credit_note_by_invoice on credit_note (invoice);
create index credit_note_by_consumer on credit_note (consumer, id);

create table credit_note_line (
    note   text    not null references credit_note (id) deferrable initially deferred,
    -- of the invoice, from 1
    line   integer not null,
    amount integer not null check (amount <> 0),
    primary key (note, line)
) strict, without rowid;

create table credit_note_tax (
    note         text    not null references credit_note (id) deferrable initially deferred,
    tax          text    not null,
    jurisdiction text    not null,
    rate         text    not null,
    amount       integer not null,
    primary key (note, tax)
) strict, without rowid;

create table settlement (
    invoice      text    not null references document (id),
    -- 1, 2, 3 of the invoice
    seq          integer not null,
    means        text    not null check (means in ('payment', 'credit_note', 'credit', 'prepaid', 'rewards', 'uncollectible', 'void')),
    -- above zero, but for an invoice below zero, which becomes the consumer's credit
    amount       integer not null check (amount <> 0),
    -- the payment or the credit note
    source       text,
    reason       text,
    effective_on text    not null check (length(effective_on) = 10),
    recorded_at  integer not null,
    -- id of a key; null where a closing did it
    recorded_by  text,
    primary key (invoice, seq),
    check ((source is not null) = (means in ('payment', 'credit_note')))
) strict, without rowid;

create index settlement_by_source on settlement (source) where source is not null;

create trigger settlement_is_sound before insert on settlement
begin
    select raise(abort, 'this is not the next settlement of its invoice')
    where new.seq <> (select count(*) from settlement where invoice = new.invoice) + 1;

    select raise(abort, 'more would be settled of an invoice than it comes to')
    where not exists (
        select 1 from document
        where id = new.invoice and kind = 'invoice'
        and (select coalesce(sum(amount), 0) from settlement where invoice = new.invoice) + new.amount
            between min(total, 0) and max(total, 0));

    select raise(abort, 'an invoice that is void is not settled')
    where exists (select 1 from settlement where invoice = new.invoice and means in ('void', 'uncollectible'));

    select raise(abort, 'an invoice is voided before anything is settled of it, and as a whole')
    where new.means = 'void' and (
        new.seq <> 1 or new.amount <> (select total from document where id = new.invoice));
end;

create trigger credit_note_is_sound before insert on credit_note
begin
    select raise(abort, 'the number of the credit note is not the next one')
    where new.ordinal <> (select coalesce(max(ordinal), 0) from credit_note) + 1;

    select raise(abort, 'the lines of the credit note do not add up to its net')
    where (select coalesce(sum(amount), 0) from credit_note_line where note = new.id) <> new.net;

    select raise(abort, 'the taxes of the credit note do not add up to its tax')
    where (select coalesce(sum(amount), 0) from credit_note_tax where note = new.id) <> new.tax;

    select raise(abort, 'more would be credited of a line than it comes to')
    where exists (
        select 1
        from credit_note_line as added
        left join document_line on document_line.document = new.invoice and document_line.line = added.line
        where added.note = new.id and coalesce(added.amount + (
            select coalesce(sum(before.amount), 0)
            from credit_note_line as before
            join credit_note on credit_note.id = before.note
            where credit_note.invoice = new.invoice and before.line = added.line
        ) not between min(document_line.amount, 0) and max(document_line.amount, 0), true));
end;

create trigger credit_note_line_joins_an_open_note before insert on credit_note_line
when exists (select 1 from credit_note where id = new.note)
begin select raise(abort, 'the credit note of this line is final'); end;
create trigger credit_note_tax_joins_an_open_note before insert on credit_note_tax
when exists (select 1 from credit_note where id = new.note)
begin select raise(abort, 'the credit note of this tax is final'); end;

create trigger payment_is_never_changed before update on payment
begin select raise(abort, 'what was settled is never changed'); end;
create trigger payment_is_never_deleted before delete on payment
begin select raise(abort, 'what was settled is never changed'); end;
create trigger credit_note_is_never_changed before update on credit_note
begin select raise(abort, 'what was settled is never changed'); end;
create trigger credit_note_is_never_deleted before delete on credit_note
begin select raise(abort, 'what was settled is never changed'); end;
create trigger credit_note_line_is_never_changed before update on credit_note_line
begin select raise(abort, 'what was settled is never changed'); end;
create trigger credit_note_line_is_never_deleted before delete on credit_note_line
begin select raise(abort, 'what was settled is never changed'); end;
create trigger credit_note_tax_is_never_changed before update on credit_note_tax
begin select raise(abort, 'what was settled is never changed'); end;
create trigger credit_note_tax_is_never_deleted before delete on credit_note_tax
begin select raise(abort, 'what was settled is never changed'); end;
create trigger settlement_is_never_changed before update on settlement
begin select raise(abort, 'what was settled is never changed'); end;
create trigger settlement_is_never_deleted before delete on settlement
begin select raise(abort, 'what was settled is never changed'); end;
