-- History that was folded into a meter which was published after it. A row says: events of batches first_seq to last_seq
-- that happened from from_time up to, not including, to_time count too. It is written in one transaction with the usage
-- that it adds, so usage is at every moment what the log up to partition.applied_seq comes to with the rows of then.
create table replayed (
    -- 1, 2, 3: in the order in which they were folded
    id        bigint not null primary key,
    meter     text   collate "C" not null references meter (id),
    first_seq bigint not null check (first_seq > 0),
    last_seq  bigint not null,
    from_time bigint not null,
    to_time   bigint not null,
    check (first_seq <= last_seq),
    check (from_time < to_time)
);

create function replayed_stays() returns trigger language plpgsql as $$
begin raise exception 'what was replayed stays counted' using errcode = '23514'; end $$;

create trigger replayed_is_never_changed before update or delete on replayed
for each row execute function replayed_stays();

create trigger replayed_is_never_emptied before truncate on replayed
for each statement execute function replayed_stays();

-- The newest row of `replayed` in the usage that was rated.
alter table closing add column replayed bigint not null default 0;
