-- The event log: one row per group commit, only ever appended to.
create table event_batch (
    seq         integer not null primary key,
    partition   integer not null,
    received_at integer not null,
    event_count integer not null check (event_count > 0),
    first_time  integer not null,
    last_time   integer not null,
    -- zstd of NDJSON: the events as they were sent, one a line, with the time of receipt where there was none
    body        blob    not null,
    -- CRC-32 of `body`
    checksum    integer not null,
    check (first_time <= last_time)
) strict;

create trigger event_batch_is_never_changed before update on event_batch
begin select raise(abort, 'the event log is only appended to'); end;

create trigger event_batch_is_never_deleted before delete on event_batch
begin select raise(abort, 'the event log is only appended to'); end;

-- Events that were refused, kept so that they can be mended and sent again.
create table quarantine (
    id          text    not null primary key,
    received_at integer not null,
    -- the bytes as they came
    event       blob    not null,
    -- JSON: what is wrong with it, as in the answer
    faults      text    not null
) strict;
