-- What finance does to the ledger by hand: it locks periods, and posts journals that a second person has approved. And what
-- stands on accounts that have a floor, kept with each batch, so that a floor costs the same however long its history is.

-- Through which day the books are closed. A row takes the place of the one before it; the last one is in force.
create table ledger_lock (
    -- 1, 2, 3, without gaps
    seq       integer not null primary key,
    -- nothing that is dated on this day or before is let in, YYYY-MM-DD
    through   text    not null check (length(through) = 10),
    locked_at integer not null,
    -- the key with which it was done
    locked_by text    not null references api_key (id),
    -- why days are open again
    reason    text    check (length(reason) > 0)
) strict;

create trigger ledger_lock_follows before insert on ledger_lock
begin
    select raise(abort, 'the lock does not follow the one before it')
    where new.seq <> (select coalesce(max(seq), 0) + 1 from ledger_lock)
    or exists (select 1 from ledger_lock where locked_at > new.locked_at);

    select raise(abort, 'a lock moves back for a reason only')
    where new.reason is null
    and new.through <= (select through from ledger_lock order by seq desc limit 1);
end;

create trigger ledger_lock_is_never_changed before update on ledger_lock
begin select raise(abort, 'the ledger is only appended to'); end;
create trigger ledger_lock_is_never_deleted before delete on ledger_lock
begin select raise(abort, 'the ledger is only appended to'); end;

create trigger journal_batch_is_of_open_days after insert on journal_batch
when exists (select 1 from ledger_lock)
begin
    select raise(abort, 'an entry is dated in a period that is locked')
    where exists (
        select 1 from journal_entry
        where batch = new.seq
        and effective_on <= (select through from ledger_lock order by seq desc limit 1));
end;

-- A journal that one person drafts and another approves. Its lines come before it, and then no more.
create table manual_journal (
    id           text    not null primary key,
    effective_on text    not null check (length(effective_on) = 10),
    description  text    not null,
    -- the journal that this one takes back
    reverses     text    references manual_journal (id),
    made_by      text    not null references api_key (id),
    made_at      integer not null,
    state        text    not null check (state in ('draft', 'posted', 'rejected')),
    decided_by   text    references api_key (id),
    decided_at   integer,
    -- why it was rejected
    reason       text,
    check ((state = 'draft') = (decided_by is null)),
    check ((state = 'draft') = (decided_at is null)),
    check ((state = 'rejected') = (reason is not null)),
    -- nobody approves what is their own
    check (decided_by <> made_by)
) strict;

create unique index manual_journal_reversed_once on manual_journal (reverses) where state <> 'rejected';

create table manual_journal_line (
    journal  text    not null references manual_journal (id) deferrable initially deferred,
    line     integer not null,
    account  text    not null,
    currency text    not null,
    side     text    not null check (side in ('debit', 'credit')),
    -- in the minor unit
    amount   integer not null check (amount > 0),
    primary key (journal, line),
    check (substr(account, length(account) - 3) = ':' || currency),
    -- what a party may be paid or may burn comes from documents alone
    check (substr(account, 1, 5) not in ('2010:', '2100:', '2110:'))
) strict, without rowid;

create trigger manual_journal_is_sound before insert on manual_journal
begin
    select raise(abort, 'a journal begins as a draft')
    where new.state <> 'draft';

    select raise(abort, 'a journal has no lines')
    where not exists (select 1 from manual_journal_line where journal = new.id);

    select raise(abort, 'a journal is not balanced')
    where exists (
        select 1 from manual_journal_line
        where journal = new.id
        group by currency
        having sum(case side when 'debit' then amount else -amount end) <> 0);

    select raise(abort, 'only what was posted can be taken back')
    where new.reverses is not null
    and not exists (select 1 from manual_journal where id = new.reverses and state = 'posted');
end;

create trigger manual_journal_is_decided_once before update on manual_journal
when old.state <> 'draft' or new.state = 'draft' or new.id <> old.id or new.effective_on <> old.effective_on
    or new.description <> old.description or new.reverses is not old.reverses or new.made_by <> old.made_by
    or new.made_at <> old.made_at
begin select raise(abort, 'the ledger is only appended to'); end;

create trigger manual_journal_is_never_deleted before delete on manual_journal
begin select raise(abort, 'the ledger is only appended to'); end;
create trigger manual_journal_line_comes_first before insert on manual_journal_line
when exists (select 1 from manual_journal where id = new.journal)
begin select raise(abort, 'the ledger is only appended to'); end;
create trigger manual_journal_line_is_never_changed before update on manual_journal_line
begin select raise(abort, 'the ledger is only appended to'); end;
create trigger manual_journal_line_is_never_deleted before delete on manual_journal_line
begin select raise(abort, 'the ledger is only appended to'); end;

create trigger journal_batch_has_approved_journals after insert on journal_batch
begin
    select raise(abort, 'a manual entry was not approved')
    where exists (
        select 1 from journal_entry
        where batch = new.seq and kind in ('manual_journal', 'manual_reversal')
        and not exists (
            select 1 from manual_journal
            where state = 'posted' and id = substr(journal_entry.key, 8)
            and journal_entry.key = 'manual:' || id));
end;

-- What was ever debited and credited on accounts that have a floor. Kept when a batch is sealed.
create table account_balance (
    account text    not null primary key references account (id),
    -- in the minor unit
    debit   integer not null,
    credit  integer not null,
    -- how many batches have moved it
    version integer not null,
    -- Nobody is paid, and nothing is burned, that is not there.
    check (credit >= debit)
) strict, without rowid;

insert into account_balance (account, debit, credit, version)
select posting.account,
       sum(case posting.side when 'debit' then posting.amount else 0 end),
       sum(case posting.side when 'credit' then posting.amount else 0 end),
       count(distinct journal_entry.batch)
from posting join journal_entry on journal_entry.seq = posting.entry
where substr(posting.account, 1, 5) in ('2010:', '2100:', '2110:')
group by posting.account;

create trigger account_balance_only_grows before update on account_balance
when new.account <> old.account or new.debit < old.debit or new.credit < old.credit or new.version <> old.version + 1
begin select raise(abort, 'the ledger is only appended to'); end;
create trigger account_balance_is_never_deleted before delete on account_balance
begin select raise(abort, 'the ledger is only appended to'); end;

drop trigger journal_batch_is_sound;
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
end;

-- Floors are looked at before anything moves, since a check could be told to be ignored here.
create trigger journal_batch_moves_balances after insert on journal_batch
when exists (
    select 1 from posting
    where entry >= new.first_entry and entry <= new.last_entry
    and substr(account, 1, 5) in ('2010:', '2100:', '2110:'))
begin
    select raise(abort, 'an account falls below its floor')
    where exists (
        select 1
        from (
            select account, sum(case side when 'credit' then amount else -amount end) as added
            from posting
            where entry >= new.first_entry and entry <= new.last_entry
            and substr(account, 1, 5) in ('2010:', '2100:', '2110:')
            group by account) as moved
        left join account_balance on account_balance.account = moved.account
        where moved.added + coalesce(account_balance.credit - account_balance.debit, 0) < 0);

    insert into account_balance (account, debit, credit, version)
    select distinct posting.account, 0, 0, 0
    from posting
    where posting.entry >= new.first_entry and posting.entry <= new.last_entry
    and substr(posting.account, 1, 5) in ('2010:', '2100:', '2110:')
    and not exists (select 1 from account_balance where account_balance.account = posting.account);

    update account_balance
    set debit = account_balance.debit + moved.debit,
        credit = account_balance.credit + moved.credit,
        version = account_balance.version + 1
    from (
        select account,
               sum(case side when 'debit' then amount else 0 end) as debit,
               sum(case side when 'credit' then amount else 0 end) as credit
        from posting
        where entry >= new.first_entry and entry <= new.last_entry
        and substr(account, 1, 5) in ('2010:', '2100:', '2110:')
        group by account) as moved
    where moved.account = account_balance.account;
end;

-- The postings of one account in the order of the journal.
drop index posting_by_account;
create index posting_by_account on posting (account, entry, side, amount);

-- Whatever a balance as of two dates asks of an entry.
drop index journal_entry_by_date;
create index journal_entry_by_date on journal_entry (effective_on, seq, recorded_at);
