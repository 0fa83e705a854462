-- Who is charged, paid, or both. The id is the platform's own: the subject of its events.
create table consumer (
    id         text collate "C"    not null primary key,
    name       text    not null,
    email      text,
    currency   text    not null,
    -- id of a tax rate in the price book
    tax        text,
    -- JSON object of strings
    tags       text    not null,
    created_at bigint  not null,
    updated_at bigint  not null
);

create table subscription (
    id             text collate "C"    not null primary key,
    consumer       text collate "C"    not null references consumer (id),
    plan           text    not null,
    starts_at      bigint  not null,
    ends_at        bigint,
    created_at     bigint  not null,
    -- everything before it is on a finalised document
    closed_through bigint  not null,
    check (ends_at is null or ends_at > starts_at),
    check (closed_through >= starts_at)
);

create index subscription_by_consumer on subscription (consumer, starts_at);

-- API keys: the hash only, never the key.
create table api_key (
    id         text collate "C"    not null primary key,
    hash       text collate "C"    not null unique,
    name       text    not null,
    role       text    not null check (role in ('operator', 'finance', 'ingest', 'consumer')),
    -- whose, for the role consumer
    consumer   text,
    created_at bigint  not null,
    revoked_at bigint,
    check ((role = 'consumer') = (consumer is not null))
);

-- Browser sessions, by the hash of what the cookie holds.
create table session (
    hash       text collate "C"    not null primary key,
    api_key    text collate "C"    not null references api_key (id),
    expires_at bigint  not null
);
