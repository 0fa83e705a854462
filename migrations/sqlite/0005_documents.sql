-- Closings and what they made. A document is complete or it does not exist: its lines, taxes and holds point forward
-- to it by a key that is checked at commit, and it is let in only when they add up to what it says and its number is
-- the next one. After that nothing can be added to it, changed in it or taken from it, but a hold passes, once.
create table closing (
    -- 1, 2, 3: the order in which program budgets were spent
    seq       integer not null primary key,
    -- where the periods end that were closed, and where the subscriptions begin that were opened
    due_at    integer not null,
    -- the last batch of the log in the usage that was rated
    usage_seq integer not null,
    closed_at integer not null
) strict;

-- What was rated together in a closing, also where it came to nothing.
create table closed_period (
    subscription   text    not null references subscription (id),
    period_from    integer not null,
    occasion       text    not null check (occasion in ('opening', 'closing')),
    period_to      integer not null,
    closing        integer not null references closing (seq),
    book_version   text    not null references book_version (id),
    -- JSON: the consumer as it was
    consumer_as_of text    not null,
    primary key (subscription, period_from, occasion),
    check (period_from < period_to)
) strict;

create index closed_period_by_closing on closed_period (closing);

-- The last number of each series of documents.
create table number_series (
    kind   text    not null check (kind in ('invoice', 'payout')),
    prefix text    not null,
    last   integer not null check (last >= 0),
    primary key (kind, prefix)
) strict;

create table document (
    id           text    not null primary key,
    kind         text    not null,
    prefix       text    not null,
    ordinal      integer not null,
    number       text    not null,
    consumer     text    not null references consumer (id),
    subscription text    not null,
    occasion     text    not null,
    period_from  integer not null,
    period_to    integer not null,
    currency     text    not null,
    -- in the minor unit
    net          integer not null,
    tax          integer not null,
    total        integer not null,
    closing      integer not null references closing (seq),
    book_version text    not null references book_version (id),
    issued_at    integer not null,
    unique (kind, prefix, ordinal),
    unique (kind, number),
    unique (subscription, period_from, kind, occasion),
    foreign key (kind, prefix) references number_series (kind, prefix),
    foreign key (subscription, period_from, occasion)
        references closed_period (subscription, period_from, occasion),
    check (net + tax = total),
    check (kind = 'invoice' or occasion = 'closing')
) strict;

create index document_by_consumer on document (consumer, kind, id);
create index document_by_closing on document (closing);

create table document_line (
    document    text    not null references document (id) deferrable initially deferred,
    line        integer not null,
    component   text    not null,
    kind        text    not null check (kind in ('fee', 'charge', 'minimum', 'reward')),
    description text    not null,
    -- JSON object of the dimensions that tell the lines of a component apart
    dimensions  text    not null,
    period_from integer not null,
    period_to   integer not null,
    quantity    text    not null,
    -- in the minor unit of the document's currency
    amount      integer not null,
    program     text,
    -- JSON
    explanation text    not null,
    primary key (document, line),
    check ((kind = 'reward') = (program is not null))
) strict;

-- What a program has paid is the sum of its lines.
create index document_line_by_program on document_line (program, amount) where program is not null;

create table document_tax (
    document     text    not null references document (id) deferrable initially deferred,
    -- id of a tax rate in the price book
    tax          text    not null,
    jurisdiction text    not null,
    -- percent
    rate         text    not null,
    amount       integer not null,
    primary key (document, tax)
) strict;

create table payout_hold (
    document   text    not null references document (id) deferrable initially deferred,
    program    text    not null,
    amount     integer not null,
    held_until integer not null,
    -- when its passing was booked
    passed_at  integer,
    primary key (document, program),
    check (passed_at is null or passed_at >= held_until)
) strict;

create index payout_hold_waiting on payout_hold (held_until) where passed_at is null;

create trigger document_line_joins_an_open_document before insert on document_line
when exists (select 1 from document where id = new.document)
begin select raise(abort, 'the document of this line is final'); end;

create trigger document_tax_joins_an_open_document before insert on document_tax
when exists (select 1 from document where id = new.document)
begin select raise(abort, 'the document of this tax is final'); end;

create trigger payout_hold_joins_an_open_document before insert on payout_hold
when new.passed_at is not null or exists (select 1 from document where id = new.document)
begin select raise(abort, 'the document of this hold is final'); end;

create trigger document_is_sound after insert on document
begin
    select raise(abort, 'the number of the document is not the next one of its series')
    where not exists (
        select 1 from number_series
        where kind = new.kind and prefix = new.prefix and last + 1 = new.ordinal);
    update number_series set last = new.ordinal where kind = new.kind and prefix = new.prefix;

    select raise(abort, 'the lines of the document do not add up to its net')
    where (select coalesce(sum(amount), 0) from document_line where document = new.id) <> new.net;

    select raise(abort, 'the taxes of the document do not add up to its tax')
    where (select coalesce(sum(amount), 0) from document_tax where document = new.id) <> new.tax;

    select raise(abort, 'the holds of the document do not add up to its total')
    where (select coalesce(sum(amount), 0) from payout_hold where document = new.id)
        <> case new.kind when 'payout' then new.total else 0 end;

    select raise(abort, 'charges belong on an invoice and rewards on a payout statement')
    where exists (
        select 1 from document_line
        where document = new.id and (kind = 'reward') <> (new.kind = 'payout'));
end;

-- Setting `last` to itself takes the series for a transaction.
create trigger number_series_only_counts_documents before update on number_series
when new.kind <> old.kind or new.prefix <> old.prefix or new.last <> old.last and not (
    new.last = old.last + 1 and exists (
        select 1 from document where kind = new.kind and prefix = new.prefix and ordinal = new.last))
begin select raise(abort, 'numbers of documents have no gaps'); end;

create trigger number_series_begins_at_one before insert on number_series when new.last <> 0
begin select raise(abort, 'numbers of documents begin at one'); end;

create trigger payout_hold_only_passes before update on payout_hold
when new.document <> old.document or new.program <> old.program or new.amount <> old.amount
    or new.held_until <> old.held_until or old.passed_at is not null or new.passed_at is null
begin select raise(abort, 'a hold passes once, and nothing else in it changes'); end;

create trigger subscription_only_moves_on before update on subscription
when new.id <> old.id or new.consumer <> old.consumer or new.plan <> old.plan or new.starts_at <> old.starts_at
    or new.closed_through < old.closed_through or new.ends_at < new.closed_through
begin select raise(abort, 'what is closed of a subscription stays as it was'); end;

create trigger consumer_keeps_its_currency before update on consumer
when new.id <> old.id or new.currency <> old.currency
    and exists (select 1 from subscription where consumer = old.id)
begin select raise(abort, 'a consumer with subscriptions keeps its currency'); end;

create trigger closing_is_never_changed before update on closing
begin select raise(abort, 'documents are never changed'); end;
create trigger closing_is_never_deleted before delete on closing
begin select raise(abort, 'documents are never changed'); end;
create trigger closed_period_is_never_changed before update on closed_period
begin select raise(abort, 'documents are never changed'); end;
create trigger closed_period_is_never_deleted before delete on closed_period
begin select raise(abort, 'documents are never changed'); end;
create trigger number_series_is_never_deleted before delete on number_series
begin select raise(abort, 'documents are never changed'); end;
create trigger document_is_never_changed before update on document
begin select raise(abort, 'documents are never changed'); end;
create trigger document_is_never_deleted before delete on document
begin select raise(abort, 'documents are never changed'); end;
create trigger document_line_is_never_changed before update on document_line
begin select raise(abort, 'documents are never changed'); end;
create trigger document_line_is_never_deleted before delete on document_line
begin select raise(abort, 'documents are never changed'); end;
create trigger document_tax_is_never_changed before update on document_tax
begin select raise(abort, 'documents are never changed'); end;
create trigger document_tax_is_never_deleted before delete on document_tax
begin select raise(abort, 'documents are never changed'); end;
create trigger payout_hold_is_never_deleted before delete on payout_hold
begin select raise(abort, 'documents are never changed'); end;
create trigger subscription_is_never_deleted before delete on subscription
begin select raise(abort, 'documents are never changed'); end;
