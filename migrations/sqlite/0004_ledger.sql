-- The ledger. Entries come in batches, and a batch is complete or it does not exist: entries point forward to their
-- batch by a key that is checked at commit, and the batch is let in only when everything in it is sound. After that
-- nothing can be added to it. Nothing here is ever changed or deleted.
create table account (
    -- code, whose or what for, and currency, such as 1100:UA:USD
    id        text    not null primary key,
    code      integer not null,
    party     text,
    -- component, program or jurisdiction
    purpose   text,
    currency  text    not null,
    unique (id, currency),
    check (substr(id, 1, 5) = cast(code as text) || ':'),
    check (party is null or purpose is null)
) strict;

create table journal_batch (
    seq         integer not null primary key,
    first_entry integer not null,
    last_entry  integer not null,
    -- the head of the batch before, 64 zeros for the first
    previous    text    not null unique,
    -- SHA-256 of previous and the entries, in hex
    head        text    not null unique,
    check (first_entry <= last_entry)
) strict;

create table journal_entry (
    -- without gaps
    seq          integer not null primary key,
    batch        integer not null references journal_batch (seq) deferrable initially deferred,
    id           text    not null unique,
    kind         text    not null,
    -- idempotency: what happens once is booked once
    key          text    not null unique,
    -- SHA-256 of what the entry says, in hex
    hash         text    not null,
    -- accounting date, YYYY-MM-DD
    effective_on text    not null check (length(effective_on) = 10),
    recorded_at  integer not null,
    description  text    not null,
    -- taken back at most once
    reverses     text    unique references journal_entry (id)
) strict;

create index journal_entry_by_date on journal_entry (effective_on, seq);
create index journal_entry_by_batch on journal_entry (batch);

create table posting (
    entry    integer not null references journal_entry (seq),
    line     integer not null,
    account  text    not null,
    currency text    not null,
    side     text    not null check (side in ('debit', 'credit')),
    -- in the minor unit
    amount   integer not null check (amount > 0),
    primary key (entry, line),
    foreign key (account, currency) references account (id, currency)
) strict, without rowid;

-- All that a floor needs, so that it is checked in the index alone.
create index posting_by_account on posting (account, side, amount);

create trigger journal_entry_joins_an_open_batch before insert on journal_entry
when exists (select 1 from journal_batch where seq = new.batch)
begin select raise(abort, 'the batch of this entry is sealed'); end;

create trigger posting_joins_an_open_batch before insert on posting
when exists (
    select 1 from journal_entry join journal_batch on journal_batch.seq = journal_entry.batch
    where journal_entry.seq = new.entry)
begin select raise(abort, 'the batch of this entry is sealed'); end;

create trigger journal_batch_is_sound after insert on journal_batch
begin
    select raise(abort, 'the batch does not follow the one before it')
    where not (
        new.seq = 1 and new.first_entry = 1
        and new.previous = '0000000000000000000000000000000000000000000000000000000000000000'
        or exists (
            select 1 from journal_batch
            where seq = new.seq - 1 and head = new.previous and last_entry + 1 = new.first_entry));

    select raise(abort, 'the entries of the batch are not those that it names')
    where (select count(*) from journal_entry where batch = new.seq) <> new.last_entry - new.first_entry + 1
    or exists (
        select 1 from journal_entry
        where batch = new.seq and (seq < new.first_entry or seq > new.last_entry));

    select raise(abort, 'an entry has no postings')
    where exists (
        select 1 from journal_entry
        where batch = new.seq and not exists (select 1 from posting where entry = journal_entry.seq));

    select raise(abort, 'an entry is not balanced')
    where exists (
        select 1 from posting
        where entry >= new.first_entry and entry <= new.last_entry
        group by entry, currency
        having sum(case side when 'debit' then amount else -amount end) <> 0);

    select raise(abort, 'an entry is not the mirror of the one that it reverses')
    where exists (
        select 1
        from journal_entry as mirror
        join journal_entry as original on original.id = mirror.reverses
        join posting on posting.entry in (mirror.seq, original.seq)
        where mirror.batch = new.seq
        group by mirror.seq, posting.account
        having sum(case posting.side when 'debit' then posting.amount else -posting.amount end) <> 0);

    -- Rewards available and prepaid credit: nobody is paid, and nothing is burned, that is not there.
    select raise(abort, 'an account falls below its floor')
    where exists (
        select 1
        from posting
        where account in (
            select posting.account
            from posting join account on account.id = posting.account
            where posting.entry >= new.first_entry and posting.entry <= new.last_entry
            and posting.side = 'debit' and account.code in (2010, 2100))
        group by account
        having sum(case side when 'credit' then amount else -amount end) < 0);
end;

create trigger account_is_never_changed before update on account
begin select raise(abort, 'the ledger is only appended to'); end;
create trigger account_is_never_deleted before delete on account
begin select raise(abort, 'the ledger is only appended to'); end;
create trigger journal_batch_is_never_changed before update on journal_batch
begin select raise(abort, 'the ledger is only appended to'); end;
create trigger journal_batch_is_never_deleted before delete on journal_batch
begin select raise(abort, 'the ledger is only appended to'); end;
create trigger journal_entry_is_never_changed before update on journal_entry
begin select raise(abort, 'the ledger is only appended to'); end;
create trigger journal_entry_is_never_deleted before delete on journal_entry
begin select raise(abort, 'the ledger is only appended to'); end;
create trigger posting_is_never_changed before update on posting
begin select raise(abort, 'the ledger is only appended to'); end;
create trigger posting_is_never_deleted before delete on posting
begin select raise(abort, 'the ledger is only appended to'); end;
