-- Batches that were moved out of the log into files. A file is written, synced, read back and checked before its rows
-- are here, and only then its batches go. The rows stay, so that the log's numbers have no gap.
create table archive_file (
    -- 1, 2, 3: each manifest names the hash of the one before it
    number          integer not null primary key check (number > 0),
    -- where it was written; `--archive` says if it was moved
    folder          text    not null,
    name            text    not null unique,
    bytes           integer not null,
    sha256          text    not null check (length(sha256) = 64),
    -- of the manifest that lies beside it
    manifest_sha256 text    not null check (length(manifest_sha256) = 64)
) strict;

create table archived_batch (
    seq         integer not null primary key,
    received_at integer not null,
    event_count integer not null,
    first_time  integer not null,
    last_time   integer not null,
    -- CRC-32 of the body, as the log had it
    checksum    integer not null,
    file        integer not null references archive_file (number),
    -- where in the file the body is, as the log had it
    first_byte  integer not null,
    bytes       integer not null
) strict;

create trigger archived_batch_is_in_the_log before insert on archived_batch
when not exists (
    select 1 from event_batch
    where seq = new.seq and received_at = new.received_at and event_count = new.event_count
      and first_time = new.first_time and last_time = new.last_time
      and checksum = new.checksum and length(body) = new.bytes)
begin select raise(abort, 'only a batch of the log can be archived'); end;

create trigger archived_batch_is_never_changed before update on archived_batch
begin select raise(abort, 'the archive is only added to'); end;

create trigger archived_batch_is_never_deleted before delete on archived_batch
begin select raise(abort, 'the archive is only added to'); end;

create trigger archive_file_is_never_changed before update on archive_file
begin select raise(abort, 'the archive is only added to'); end;

create trigger archive_file_is_never_deleted before delete on archive_file
begin select raise(abort, 'the archive is only added to'); end;

-- A batch can be deleted when the archive has this very batch, and never otherwise.
drop trigger event_batch_is_never_deleted;

create trigger event_batch_is_never_deleted before delete on event_batch
when not exists (
    select 1 from archived_batch
    where seq = old.seq and received_at = old.received_at and event_count = old.event_count
      and first_time = old.first_time and last_time = old.last_time
      and checksum = old.checksum and bytes = length(old.body))
begin select raise(abort, 'the event log is only appended to'); end;
