-- History that was folded into a meter which was published after it. A row says: events of batches first_seq to last_seq
-- that happened from from_time up to, not including, to_time count too. It is written in one transaction with the usage
-- that it adds, so usage is at every moment what the log up to partition.applied_seq comes to with the rows of then.
create table replayed (
    -- 1, 2, 3: in the order in which they were folded
    id        integer not null primary key,
    meter     text    not null references meter (id),
    first_seq integer not null check (first_seq > 0),
    last_seq  integer not null,
    from_time integer not null,
    to_time   integer not null,
    check (first_seq <= last_seq),
    check (from_time < to_time)
) strict;

create trigger replayed_is_never_changed before update on replayed
begin select raise(abort, 'what was replayed stays counted'); end;

create trigger replayed_is_never_deleted before delete on replayed
begin select raise(abort, 'what was replayed stays counted'); end;

-- The newest row of `replayed` in the usage that was rated.
alter table closing add column replayed integer not null default 0;
