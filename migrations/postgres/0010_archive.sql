-- Batches that were moved out of the log into files. A file is written, synced, read back and checked before its rows
-- are here, and only then its batches go. The rows stay, so that the log's numbers have no gap.
create table archive_file (
    -- 1, 2, 3: each manifest names the hash of the one before it
    number          bigint not null primary key check (number > 0),
    -- where it was written; `--archive` says if it was moved
    folder          text   collate "C" not null,
    name            text   collate "C" not null unique,
    bytes           bigint not null,
    sha256          text   collate "C" not null check (length(sha256) = 64),
    -- of the manifest that lies beside it
    manifest_sha256 text   collate "C" not null check (length(manifest_sha256) = 64)
);

create table archived_batch (
    seq         bigint not null primary key,
    received_at bigint not null,
    event_count bigint not null,
    first_time  bigint not null,
    last_time   bigint not null,
    -- CRC-32 of the body, as the log had it
    checksum    bigint not null,
    file        bigint not null references archive_file (number),
    -- where in the file the body is, as the log had it
    first_byte  bigint not null,
    bytes       bigint not null
);

create function archived_batch_is_in_the_log() returns trigger language plpgsql as $$
begin
    if not exists (
        select 1 from event_batch
        where seq = new.seq and received_at = new.received_at and event_count = new.event_count
          and first_time = new.first_time and last_time = new.last_time
          and checksum = new.checksum and length(body) = new.bytes)
    then raise exception 'only a batch of the log can be archived' using errcode = '23514'; end if;
    return new;
end $$;

create trigger archived_batch_is_in_the_log before insert on archived_batch
for each row execute function archived_batch_is_in_the_log();

create function archive_is_only_added_to() returns trigger language plpgsql as $$
begin raise exception 'the archive is only added to' using errcode = '23514'; end $$;

create trigger archived_batch_is_never_changed before update or delete on archived_batch
for each row execute function archive_is_only_added_to();

create trigger archived_batch_is_never_emptied before truncate on archived_batch
for each statement execute function archive_is_only_added_to();

create trigger archive_file_is_never_changed before update or delete on archive_file
for each row execute function archive_is_only_added_to();

create trigger archive_file_is_never_emptied before truncate on archive_file
for each statement execute function archive_is_only_added_to();

-- A batch can be deleted when the archive has this very batch, and never otherwise.
create or replace function event_log_is_append_only() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        if exists (
            select 1 from archived_batch
            where seq = old.seq and received_at = old.received_at and event_count = old.event_count
              and first_time = old.first_time and last_time = old.last_time
              and checksum = old.checksum and bytes = length(old.body))
        then return old; end if;
    end if;
    raise exception 'the event log is only appended to' using errcode = '23514';
end $$;
