-- A posting costs what is looked up for it: the end of the last batch instead of its entry's batch, and its account by the id
-- alone, which ends with the currency.
drop trigger journal_batch_is_sound;
drop trigger journal_batch_moves_balances;

create table posting_checked (
    entry    integer not null references journal_entry (seq),
    line     integer not null,
    account  text    not null references account (id),
    currency text    not null,
    side     text    not null check (side in ('debit', 'credit')),
    -- in the minor unit
    amount   integer not null check (amount > 0),
    primary key (entry, line),
    check (substr(account, -4) = ':' || currency)
) strict, without rowid;

insert into posting_checked select entry, line, account, currency, side, amount from posting order by entry, line;
drop table posting;
alter table posting_checked rename to posting;

-- The postings of one account in the order of the journal.
create index posting_by_account on posting (account, entry, side, amount);

-- Batches follow one another without gaps: whatever comes after the last one is not sealed yet.
create trigger posting_joins_an_open_batch before insert on posting
when new.entry <= (select last_entry from journal_batch order by seq desc limit 1)
begin select raise(abort, 'the batch of this entry is sealed'); end;

create trigger posting_is_never_changed before update on posting
begin select raise(abort, 'the ledger is only appended to'); end;
create trigger posting_is_never_deleted before delete on posting
begin select raise(abort, 'the ledger is only appended to'); end;

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
