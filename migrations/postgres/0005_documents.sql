-- Closings and what they made. A document is complete or it does not exist: its lines, taxes and holds point forward
-- to it by a key that is checked at commit, and it is let in only when they add up to what it says and its number is
-- the next one. After that nothing can be added to it, changed in it or taken from it, but a hold passes, once.
create table closing (
    -- 1, 2, 3: the order in which program budgets were spent
    seq            bigint           not null primary key,
    -- where the periods end that were closed, and where the subscriptions begin that were opened
    due_at         bigint           not null,
    -- the last batch of the log in the usage that was rated
    usage_seq      bigint           not null,
    closed_at      bigint           not null
);

-- What was rated together in a closing, also where it came to nothing.
create table closed_period (
    subscription   text collate "C" not null references subscription (id),
    period_from    bigint           not null,
    occasion       text collate "C" not null check (occasion in ('opening', 'closing')),
    period_to      bigint           not null,
    closing        bigint           not null references closing (seq),
    book_version   text collate "C" not null references book_version (id),
    -- JSON: the consumer as it was
    consumer_as_of text             not null,
    primary key (subscription, period_from, occasion),
    check (period_from < period_to)
);

create index closed_period_by_closing on closed_period (closing);

-- The last number of each series of documents.
create table number_series (
    kind           text collate "C" not null check (kind in ('invoice', 'payout')),
    prefix         text collate "C" not null,
    last           bigint           not null check (last >= 0),
    primary key (kind, prefix)
);

create table document (
    id             text collate "C" not null primary key,
    kind           text collate "C" not null,
    prefix         text collate "C" not null,
    ordinal        bigint           not null,
    number         text collate "C" not null,
    consumer       text collate "C" not null references consumer (id),
    subscription   text collate "C" not null,
    occasion       text collate "C" not null,
    period_from    bigint           not null,
    period_to      bigint           not null,
    currency       text collate "C" not null,
    -- in the minor unit
    net            bigint           not null,
    tax            bigint           not null,
    total          bigint           not null,
    closing        bigint           not null references closing (seq),
    book_version   text collate "C" not null references book_version (id),
    issued_at      bigint           not null,
    unique (kind, prefix, ordinal),
    unique (kind, number),
    unique (subscription, period_from, kind, occasion),
    foreign key (kind, prefix) references number_series (kind, prefix),
    foreign key (subscription, period_from, occasion)
        references closed_period (subscription, period_from, occasion),
    check (net + tax = total),
    check (kind = 'invoice' or occasion = 'closing')
);

create index document_by_consumer on document (consumer, kind, id);
create index document_by_closing on document (closing);

create table document_line (
    document       text collate "C" not null references document (id) deferrable initially deferred,
    line           bigint           not null,
    component      text collate "C" not null,
    kind           text collate "C" not null check (kind in ('fee', 'charge', 'minimum', 'reward')),
    description    text             not null,
    -- JSON object of the dimensions that tell the lines of a component apart
    dimensions     text             not null,
    period_from    bigint           not null,
    period_to      bigint           not null,
    quantity       numeric          not null,
    -- in the minor unit of the document's currency
    amount         bigint           not null,
    program        text collate "C",
    -- JSON
    explanation    text             not null,
    primary key (document, line),
    check ((kind = 'reward') = (program is not null))
);

-- What a program has paid is the sum of its lines.
create index document_line_by_program on document_line (program, amount) where program is not null;

create table document_tax (
    document       text collate "C" not null references document (id) deferrable initially deferred,
    -- id of a tax rate in the price book
    tax            text collate "C" not null,
    jurisdiction   text             not null,
    -- percent
    rate           numeric          not null,
    amount         bigint           not null,
    primary key (document, tax)
);

create table payout_hold (
    document       text collate "C" not null references document (id) deferrable initially deferred,
    program        text collate "C" not null,
    amount         bigint           not null,
    held_until     bigint           not null,
    -- when its passing was booked
    passed_at      bigint,
    primary key (document, program),
    check (passed_at is null or passed_at >= held_until)
);

create index payout_hold_waiting on payout_hold (held_until) where passed_at is null;

create function document_part_joins_an_open_document() returns trigger language plpgsql as $$
begin
    if exists (select 1 from added join document on document.id = added.document) then
        raise exception 'the document of this % is final', tg_argv[0] using errcode = '23514';
    end if;
    return null;
end $$;

create trigger document_line_joins_an_open_document after insert on document_line
referencing new table as added
for each statement execute function document_part_joins_an_open_document('line');

create trigger document_tax_joins_an_open_document after insert on document_tax
referencing new table as added
for each statement execute function document_part_joins_an_open_document('tax');

create trigger payout_hold_joins_an_open_document after insert on payout_hold
referencing new table as added
for each statement execute function document_part_joins_an_open_document('hold');

create function payout_hold_begins_held() returns trigger language plpgsql as $$
begin
    if new.passed_at is not null then
        raise exception 'a hold begins held' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger payout_hold_begins_held before insert on payout_hold
for each row execute function payout_hold_begins_held();

-- Before each row, where the rows before it in the same statement can be seen.
create function document_is_sound() returns trigger language plpgsql as $$
begin
    update number_series set last = new.ordinal
    where kind = new.kind and prefix = new.prefix and last + 1 = new.ordinal;
    if not found then
        raise exception 'the number of the document is not the next one of its series' using errcode = '23514';
    end if;

    if (select coalesce(sum(amount), 0) from document_line where document = new.id) <> new.net then
        raise exception 'the lines of the document do not add up to its net' using errcode = '23514';
    end if;

    if (select coalesce(sum(amount), 0) from document_tax where document = new.id) <> new.tax then
        raise exception 'the taxes of the document do not add up to its tax' using errcode = '23514';
    end if;

    if (select coalesce(sum(amount), 0) from payout_hold where document = new.id)
        <> (case new.kind when 'payout' then new.total else 0 end)
    then
        raise exception 'the holds of the document do not add up to its total' using errcode = '23514';
    end if;

    if exists (
        select 1 from document_line
        where document = new.id and (kind = 'reward') <> (new.kind = 'payout'))
    then
        raise exception 'charges belong on an invoice and rewards on a payout statement' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger document_is_sound before insert on document
for each row execute function document_is_sound();

-- Setting `last` to itself takes the series for a transaction. A count is checked at commit: the document that it
-- counts is inserted after it.
create function number_series_only_counts_documents() returns trigger language plpgsql as $$
begin
    if new.kind <> old.kind or new.prefix <> old.prefix or new.last <> old.last and not (
        new.last = old.last + 1 and exists (
            select 1 from document where kind = new.kind and prefix = new.prefix and ordinal = new.last))
    then
        raise exception 'numbers of documents have no gaps' using errcode = '23514';
    end if;
    return null;
end $$;

create constraint trigger number_series_only_counts_documents after update on number_series
deferrable initially deferred
for each row execute function number_series_only_counts_documents();

create function number_series_begins_at_one() returns trigger language plpgsql as $$
begin
    if new.last <> 0 then
        raise exception 'numbers of documents begin at one' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger number_series_begins_at_one before insert on number_series
for each row execute function number_series_begins_at_one();

create function payout_hold_only_passes() returns trigger language plpgsql as $$
begin
    if new.document <> old.document or new.program <> old.program or new.amount <> old.amount
        or new.held_until <> old.held_until or old.passed_at is not null or new.passed_at is null
    then
        raise exception 'a hold passes once, and nothing else in it changes' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger payout_hold_only_passes before update on payout_hold
for each row execute function payout_hold_only_passes();

create function subscription_only_moves_on() returns trigger language plpgsql as $$
begin
    if new.id <> old.id or new.consumer <> old.consumer or new.plan <> old.plan or new.starts_at <> old.starts_at
        or new.closed_through < old.closed_through or new.ends_at < new.closed_through
    then
        raise exception 'what is closed of a subscription stays as it was' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger subscription_only_moves_on before update on subscription
for each row execute function subscription_only_moves_on();

create function consumer_keeps_its_currency() returns trigger language plpgsql as $$
begin
    if new.id <> old.id or new.currency <> old.currency
        and exists (select 1 from subscription where consumer = old.id)
    then
        raise exception 'a consumer with subscriptions keeps its currency' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger consumer_keeps_its_currency before update on consumer
for each row execute function consumer_keeps_its_currency();

create function documents_are_final() returns trigger language plpgsql as $$
begin raise exception 'documents are never changed' using errcode = '23514'; end $$;

create trigger closing_is_never_changed before update or delete on closing
for each row execute function documents_are_final();
create trigger closing_is_never_emptied before truncate on closing
for each statement execute function documents_are_final();
create trigger closed_period_is_never_changed before update or delete on closed_period
for each row execute function documents_are_final();
create trigger closed_period_is_never_emptied before truncate on closed_period
for each statement execute function documents_are_final();
create trigger number_series_is_never_deleted before delete on number_series
for each row execute function documents_are_final();
create trigger number_series_is_never_emptied before truncate on number_series
for each statement execute function documents_are_final();
create trigger document_is_never_changed before update or delete on document
for each row execute function documents_are_final();
create trigger document_is_never_emptied before truncate on document
for each statement execute function documents_are_final();
create trigger document_line_is_never_changed before update or delete on document_line
for each row execute function documents_are_final();
create trigger document_line_is_never_emptied before truncate on document_line
for each statement execute function documents_are_final();
create trigger document_tax_is_never_changed before update or delete on document_tax
for each row execute function documents_are_final();
create trigger document_tax_is_never_emptied before truncate on document_tax
for each statement execute function documents_are_final();
create trigger payout_hold_is_never_deleted before delete on payout_hold
for each row execute function documents_are_final();
create trigger payout_hold_is_never_emptied before truncate on payout_hold
for each statement execute function documents_are_final();
create trigger subscription_is_never_deleted before delete on subscription
for each row execute function documents_are_final();
