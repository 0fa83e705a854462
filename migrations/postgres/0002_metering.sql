-- Published price books. Content never changes; a change is a new version.
create table book_version (
    id             text   collate "C" not null primary key,
    hash           text   collate "C" not null unique,
    effective_from bigint not null unique,
    published_at   bigint not null,
    published_by   text   not null,
    note           text   not null,
    -- JSON: every file of the book, path and text
    files          text   not null
);

-- Meters that have been published: what they count, and from which batch of the log on.
create table meter (
    id         text   collate "C" not null primary key,
    -- batches up to and including this one were folded without it
    after_seq  bigint not null
);

-- How far the log has been folded into usage.
create table partition (
    id          bigint not null primary key,
    applied_seq bigint not null
);

insert into partition (id, applied_seq) values (0, 0);

-- What was measured. Flushed together with partition.applied_seq, so it is always one prefix of the log.
create table usage (
    meter      text    collate "C" not null references meter (id),
    party      text    collate "C" not null,
    bucket     bigint  not null,
    -- JSON object with sorted keys
    dimensions text    collate "C" not null,
    value      numeric not null,
    count      bigint  not null,
    primary key (meter, party, bucket, dimensions)
);
