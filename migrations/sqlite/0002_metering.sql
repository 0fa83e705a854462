-- Published price books. Content never changes; a change is a new version.
create table book_version (
    id             text    not null primary key,
    hash           text    not null unique,
    effective_from integer not null unique,
    published_at   integer not null,
    published_by   text    not null,
    note           text    not null,
    -- JSON: every file of the book, path and text
    files          text    not null
) strict;

-- Meters that have been published: what they count, and from which batch of the log on.
create table meter (
    id         text    not null primary key,
    -- batches up to and including this one were folded without it
    after_seq  integer not null
) strict;

-- How far the log has been folded into usage.
create table partition (
    id          integer not null primary key,
    applied_seq integer not null
) strict;

insert into partition (id, applied_seq) values (0, 0);

-- What was measured. Flushed together with partition.applied_seq, so it is always one prefix of the log.
create table usage (
    meter      text    not null references meter (id),
    party      text    not null,
    bucket     integer not null,
    -- JSON object with sorted keys
    dimensions text    not null,
    value      text    not null,
    count      integer not null,
    primary key (meter, party, bucket, dimensions)
) strict, without rowid;
