-- The ledger. Entries come in batches, and a batch is complete or it does not exist: entries point forward to their
-- batch by a key that is checked at commit, and the batch is let in only when everything in it is sound. After that
-- nothing can be added to it. Nothing here is ever changed or deleted.
create table account (
    -- code, whose or what for, and currency, such as 1100:UA:USD
    id        text   collate "C" not null primary key,
    code      bigint not null,
    party     text   collate "C",
    -- component, program or jurisdiction
    purpose   text   collate "C",
    currency  text   collate "C" not null,
    unique (id, currency),
    check (substr(id, 1, 5) = cast(code as text) || ':'),
    check (party is null or purpose is null)
);

create table journal_batch (
    seq         bigint not null primary key,
    first_entry bigint not null,
    last_entry  bigint not null,
    -- the head of the batch before, 64 zeros for the first
    previous    text   collate "C" not null unique,
    -- SHA-256 of previous and the entries, in hex
    head        text   collate "C" not null unique,
    check (first_entry <= last_entry)
);

create table journal_entry (
    -- without gaps
    seq          bigint not null primary key,
    batch        bigint not null references journal_batch (seq) deferrable initially deferred,
    id           text   collate "C" not null unique,
    kind         text   not null,
    -- idempotency: what happens once is booked once
    key          text   collate "C" not null unique,
    -- SHA-256 of what the entry says, in hex
    hash         text   not null,
    -- accounting date, YYYY-MM-DD
    effective_on text   collate "C" not null check (length(effective_on) = 10),
    recorded_at  bigint not null,
    description  text   not null,
    -- taken back at most once
    reverses     text   collate "C" unique references journal_entry (id)
);

create index journal_entry_by_date on journal_entry (effective_on, seq);
create index journal_entry_by_batch on journal_entry (batch);

create table posting (
    entry    bigint not null references journal_entry (seq),
    line     bigint not null,
    account  text   collate "C" not null,
    currency text   collate "C" not null,
    side     text   collate "C" not null check (side in ('debit', 'credit')),
    -- in the minor unit
    amount   bigint not null check (amount > 0),
    primary key (entry, line),
    foreign key (account, currency) references account (id, currency)
);

-- All that a floor needs, so that it is checked in the index alone.
create index posting_by_account on posting (account, side, amount);

-- One transaction at a time adds to the journal, so that none can commit a batch under another's entries.
create function journal_has_one_writer() returns trigger language plpgsql as $$
begin
    lock table journal_batch in share row exclusive mode;
    return null;
end $$;

create trigger journal_entry_waits_its_turn before insert on journal_entry
for each statement execute function journal_has_one_writer();

create function journal_entry_joins_an_open_batch() returns trigger language plpgsql as $$
begin
    if exists (select 1 from added join journal_batch on journal_batch.seq = added.batch) then
        raise exception 'the batch of this entry is sealed' using errcode = '23514';
    end if;
    return null;
end $$;

create trigger journal_entry_joins_an_open_batch after insert on journal_entry
referencing new table as added
for each statement execute function journal_entry_joins_an_open_batch();

create function posting_joins_an_open_batch() returns trigger language plpgsql as $$
begin
    if exists (
        select 1 from added
        join journal_entry on journal_entry.seq = added.entry
        join journal_batch on journal_batch.seq = journal_entry.batch)
    then
        raise exception 'the batch of this entry is sealed' using errcode = '23514';
    end if;
    return null;
end $$;

create trigger posting_joins_an_open_batch after insert on posting
referencing new table as added
for each statement execute function posting_joins_an_open_batch();

create function journal_batch_is_sound() returns trigger language plpgsql as $$
begin
    if not (
        new.seq = 1 and new.first_entry = 1
        and new.previous = '0000000000000000000000000000000000000000000000000000000000000000'
        or exists (
            select 1 from journal_batch
            where seq = new.seq - 1 and head = new.previous and last_entry + 1 = new.first_entry))
    then
        raise exception 'the batch does not follow the one before it' using errcode = '23514';
    end if;

    if (select count(*) from journal_entry where batch = new.seq) <> new.last_entry - new.first_entry + 1
    or exists (
        select 1 from journal_entry
        where batch = new.seq and (seq < new.first_entry or seq > new.last_entry))
    then
        raise exception 'the entries of the batch are not those that it names' using errcode = '23514';
    end if;

    if exists (
        select 1 from journal_entry
        where batch = new.seq and not exists (select 1 from posting where entry = journal_entry.seq))
    then
        raise exception 'an entry has no postings' using errcode = '23514';
    end if;

    if exists (
        select 1 from posting
        where entry >= new.first_entry and entry <= new.last_entry
        group by entry, currency
        having sum(case side when 'debit' then amount else -amount end) <> 0)
    then
        raise exception 'an entry is not balanced' using errcode = '23514';
    end if;

    if exists (
        select 1
        from journal_entry as mirror
        join journal_entry as original on original.id = mirror.reverses
        join posting on posting.entry in (mirror.seq, original.seq)
        where mirror.batch = new.seq
        group by mirror.seq, posting.account
        having sum(case posting.side when 'debit' then posting.amount else -posting.amount end) <> 0)
    then
        raise exception 'an entry is not the mirror of the one that it reverses' using errcode = '23514';
    end if;

    -- Rewards available and prepaid credit: nobody is paid, and nothing is burned, that is not there.
    if exists (
        select 1
        from posting
        where account in (
            select posting.account
            from posting join account on account.id = posting.account
            where posting.entry >= new.first_entry and posting.entry <= new.last_entry
            and posting.side = 'debit' and account.code in (2010, 2100))
        group by account
        having sum(case side when 'credit' then amount else -amount end) < 0)
    then
        raise exception 'an account falls below its floor' using errcode = '23514';
    end if;
    return null;
end $$;

create trigger journal_batch_is_sound after insert on journal_batch
for each row execute function journal_batch_is_sound();

create function ledger_is_append_only() returns trigger language plpgsql as $$
begin raise exception 'the ledger is only appended to' using errcode = '23514'; end $$;

create trigger account_is_never_changed before update or delete on account
for each row execute function ledger_is_append_only();
create trigger account_is_never_emptied before truncate on account
for each statement execute function ledger_is_append_only();
create trigger journal_batch_is_never_changed before update or delete on journal_batch
for each row execute function ledger_is_append_only();
create trigger journal_batch_is_never_emptied before truncate on journal_batch
for each statement execute function ledger_is_append_only();
create trigger journal_entry_is_never_changed before update or delete on journal_entry
for each row execute function ledger_is_append_only();
create trigger journal_entry_is_never_emptied before truncate on journal_entry
for each statement execute function ledger_is_append_only();
create trigger posting_is_never_changed before update or delete on posting
for each row execute function ledger_is_append_only();
create trigger posting_is_never_emptied before truncate on posting
for each statement execute function ledger_is_append_only();
