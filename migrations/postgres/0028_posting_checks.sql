-- A posting costs what is looked up for it: the end of the last batch instead of its entry's batch, and its account by the id
-- alone, which ends with the currency.
-- Entries and accounts are never deleted, so it is enough that those of all rows of a statement are there when it ends.
alter table posting
    drop constraint posting_entry_fkey,
    drop constraint posting_account_currency_fkey,
    add check (right(account, 4) = ':' || currency);

-- Batches follow one another without gaps: whatever comes after the last one is not sealed yet.
create or replace function posting_joins_an_open_batch() returns trigger language plpgsql as $$
begin
    if exists (select 1 from added where entry <= (select last_entry from journal_batch order by seq desc limit 1)) then
        raise exception 'the batch of this entry is sealed' using errcode = '23514';
    end if;
    if exists (
        select 1 from (select distinct entry from added) as named
        where not exists (select 1 from journal_entry where journal_entry.seq = named.entry))
    then
        raise exception 'violates foreign key: there is no such entry' using errcode = '23503';
    end if;
    if exists (
        select 1 from (select distinct account from added) as named
        where not exists (select 1 from account where account.id = named.account))
    then
        raise exception 'violates foreign key: there is no such account' using errcode = '23503';
    end if;
    return null;
end $$;
