-- What finance does to the ledger by hand: it locks periods, and posts journals that a second person has approved. And what
-- stands on accounts that have a floor, kept with each batch, so that a floor costs the same however long its history is.

-- Through which day the books are closed. A row takes the place of the one before it; the last one is in force.
create table ledger_lock (
    -- 1, 2, 3, without gaps
    seq       bigint not null primary key,
    -- nothing that is dated on this day or before is let in, YYYY-MM-DD
    through   text   collate "C" not null check (length(through) = 10),
    locked_at bigint not null,
    -- the key with which it was done
    locked_by text   collate "C" not null references api_key (id),
    -- why days are open again
    reason    text   check (length(reason) > 0)
);

create function ledger_lock_follows() returns trigger language plpgsql as $$
begin
    if new.seq <> (select coalesce(max(seq), 0) + 1 from ledger_lock)
    or exists (select 1 from ledger_lock where locked_at > new.locked_at)
    then
        raise exception 'the lock does not follow the one before it' using errcode = '23514';
    end if;

    if new.reason is null
    and new.through <= (select through from ledger_lock order by seq desc limit 1)
    then
        raise exception 'a lock moves back for a reason only' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger ledger_lock_follows before insert on ledger_lock
for each row execute function ledger_lock_follows();

create trigger ledger_lock_is_never_changed before update or delete on ledger_lock
for each row execute function ledger_is_append_only();
create trigger ledger_lock_is_never_emptied before truncate on ledger_lock
for each statement execute function ledger_is_append_only();

-- Whoever posts keeps locks from moving until it has committed.
create function journal_batch_is_of_open_days() returns trigger language plpgsql as $$
begin
    lock table ledger_lock in share mode;
    if exists (
        select 1 from journal_entry
        where batch = new.seq
        and effective_on <= (select through from ledger_lock order by seq desc limit 1))
    then
        raise exception 'an entry is dated in a period that is locked' using errcode = '23514';
    end if;
    return null;
end $$;

create trigger journal_batch_is_of_open_days after insert on journal_batch
for each row execute function journal_batch_is_of_open_days();

-- A journal that one person drafts and another approves. Its lines come before it, and then no more.
create table manual_journal (
    id           text   collate "C" not null primary key,
    effective_on text   collate "C" not null check (length(effective_on) = 10),
    description  text   not null,
    -- the journal that this one takes back
    reverses     text   collate "C" references manual_journal (id),
    made_by      text   collate "C" not null references api_key (id),
    made_at      bigint not null,
    state        text   collate "C" not null check (state in ('draft', 'posted', 'rejected')),
    decided_by   text   collate "C" references api_key (id),
    decided_at   bigint,
    -- why it was rejected
    reason       text,
    check ((state = 'draft') = (decided_by is null)),
    check ((state = 'draft') = (decided_at is null)),
    check ((state = 'rejected') = (reason is not null)),
    -- nobody approves what is their own
    check (decided_by <> made_by)
);

create unique index manual_journal_reversed_once on manual_journal (reverses) where state <> 'rejected';

create table manual_journal_line (
    journal  text   collate "C" not null references manual_journal (id) deferrable initially deferred,
    line     bigint not null,
    account  text   collate "C" not null,
    currency text   collate "C" not null,
    side     text   collate "C" not null check (side in ('debit', 'credit')),
    -- in the minor unit
    amount   bigint not null check (amount > 0),
    primary key (journal, line),
    check (substr(account, length(account) - 3) = ':' || currency),
    -- what a party may be paid or may burn comes from documents alone
    check (substr(account, 1, 5) not in ('2010:', '2100:', '2110:'))
);

create function manual_journal_is_sound() returns trigger language plpgsql as $$
begin
    if new.state <> 'draft' then
        raise exception 'a journal begins as a draft' using errcode = '23514';
    end if;

    if not exists (select 1 from manual_journal_line where journal = new.id) then
        raise exception 'a journal has no lines' using errcode = '23514';
    end if;

    if exists (
        select 1 from manual_journal_line
        where journal = new.id
        group by currency
        having sum(case side when 'debit' then amount else -amount end) <> 0)
    then
        raise exception 'a journal is not balanced' using errcode = '23514';
    end if;

    if new.reverses is not null
    and not exists (select 1 from manual_journal where id = new.reverses and state = 'posted')
    then
        raise exception 'only what was posted can be taken back' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger manual_journal_is_sound before insert on manual_journal
for each row execute function manual_journal_is_sound();

create trigger manual_journal_is_decided_once before update on manual_journal
for each row
when (old.state <> 'draft' or new.state = 'draft' or new.id <> old.id or new.effective_on <> old.effective_on
    or new.description <> old.description or new.reverses is distinct from old.reverses or new.made_by <> old.made_by
    or new.made_at <> old.made_at)
execute function ledger_is_append_only();

create function manual_journal_line_comes_first() returns trigger language plpgsql as $$
begin
    if exists (select 1 from manual_journal where id = new.journal) then
        raise exception 'the ledger is only appended to' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger manual_journal_line_comes_first before insert on manual_journal_line
for each row execute function manual_journal_line_comes_first();

create trigger manual_journal_is_never_deleted before delete on manual_journal
for each row execute function ledger_is_append_only();
create trigger manual_journal_is_never_emptied before truncate on manual_journal
for each statement execute function ledger_is_append_only();
create trigger manual_journal_line_is_never_changed before update or delete on manual_journal_line
for each row execute function ledger_is_append_only();
create trigger manual_journal_line_is_never_emptied before truncate on manual_journal_line
for each statement execute function ledger_is_append_only();

create function journal_batch_has_approved_journals() returns trigger language plpgsql as $$
begin
    if exists (
        select 1 from journal_entry
        where batch = new.seq and kind in ('manual_journal', 'manual_reversal')
        and not exists (
            select 1 from manual_journal
            where state = 'posted' and id = substr(journal_entry.key, 8)
            and journal_entry.key = 'manual:' || id))
    then
        raise exception 'a manual entry was not approved' using errcode = '23514';
    end if;
    return null;
end $$;

create trigger journal_batch_has_approved_journals after insert on journal_batch
for each row execute function journal_batch_has_approved_journals();

-- What was ever debited and credited on accounts that have a floor. Kept when a batch is sealed.
create table account_balance (
    account text   collate "C" not null primary key references account (id),
    -- in the minor unit
    debit   bigint not null,
    credit  bigint not null,
    -- how many batches have moved it
    version bigint not null,
    -- Nobody is paid, and nothing is burned, that is not there.
    check (credit >= debit)
);

insert into account_balance (account, debit, credit, version)
select posting.account,
       sum(case posting.side when 'debit' then posting.amount else 0 end),
       sum(case posting.side when 'credit' then posting.amount else 0 end),
       count(distinct journal_entry.batch)
from posting join journal_entry on journal_entry.seq = posting.entry
where substr(posting.account, 1, 5) in ('2010:', '2100:', '2110:')
group by posting.account;

create trigger account_balance_only_grows before update on account_balance
for each row
when (new.account <> old.account or new.debit < old.debit or new.credit < old.credit or new.version <> old.version + 1)
execute function ledger_is_append_only();
create trigger account_balance_is_never_deleted before delete on account_balance
for each row execute function ledger_is_append_only();
create trigger account_balance_is_never_emptied before truncate on account_balance
for each statement execute function ledger_is_append_only();

create or replace function journal_batch_is_sound() returns trigger language plpgsql as $$
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
    return null;
end $$;

create function journal_batch_moves_balances() returns trigger language plpgsql as $$
begin
    if exists (
        select 1
        from (
            select account, sum(case side when 'credit' then amount else -amount end) as added
            from posting
            where entry >= new.first_entry and entry <= new.last_entry
            and substr(account, 1, 5) in ('2010:', '2100:', '2110:')
            group by account) as moved
        left join account_balance on account_balance.account = moved.account
        where moved.added + coalesce(account_balance.credit - account_balance.debit, 0) < 0)
    then
        raise exception 'an account falls below its floor' using errcode = '23514';
    end if;

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
    return null;
end $$;

create trigger journal_batch_moves_balances after insert on journal_batch
for each row execute function journal_batch_moves_balances();

-- The postings of one account in the order of the journal.
drop index posting_by_account;
create index posting_by_account on posting (account, entry, side, amount);

-- Whatever a balance as of two dates asks of an entry.
drop index journal_entry_by_date;
create index journal_entry_by_date on journal_entry (effective_on, seq, recorded_at);
