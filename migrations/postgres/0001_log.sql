-- The event log: one row per group commit, only ever appended to.
create table event_batch (
    seq         bigint not null primary key,
    partition   bigint not null,
    received_at bigint not null,
    event_count bigint not null check (event_count > 0),
    first_time  bigint not null,
    last_time   bigint not null,
    -- zstd of NDJSON: the events as they were sent, one a line, with the time of receipt where there was none
    body        bytea  not null,
    -- CRC-32 of `body`
    checksum    bigint not null,
    check (first_time <= last_time)
);

-- The body is compressed already.
alter table event_batch alter column body set storage external;

create function event_log_is_append_only() returns trigger language plpgsql as $$
begin raise exception 'the event log is only appended to' using errcode = '23514'; end $$;

create trigger event_batch_is_never_changed before update or delete on event_batch
for each row execute function event_log_is_append_only();

create trigger event_batch_is_never_emptied before truncate on event_batch
for each statement execute function event_log_is_append_only();

-- Events that were refused, kept so that they can be mended and sent again.
create table quarantine (
    id          text   collate "C" not null primary key,
    received_at bigint not null,
    -- the bytes as they came
    event       bytea  not null,
    -- JSON: what is wrong with it, as in the answer
    faults      text   not null
);
