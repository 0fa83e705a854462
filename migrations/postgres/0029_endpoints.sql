-- Webhooks: where consumers want events delivered, and what did not arrive at once. What arrives leaves no row: an endpoint
-- keeps how far in the log everything was delivered or written down here.

create table endpoint (
    id            text collate "C" not null primary key,
    consumer      text collate "C" not null references consumer (id),
    url           text not null,
    description   text not null,
    -- JSON: filters in the dialects of CloudEvents subscriptions
    filters       text not null,
    state         text collate "C" not null check (state in ('active', 'paused', 'disabled', 'removed')),
    -- why it is not active
    reason        text,
    made_at       bigint not null,
    changed_at    bigint not null,
    -- through which batch of the log everything was delivered or written down
    through       bigint not null check (through >= 0),
    -- the first attempt that failed since one was acknowledged
    failing_since bigint,
    check ((state = 'active') = (reason is null))
);

create index endpoint_by_consumer on endpoint (consumer, id);

-- What deliveries are signed with, as it is kept: encrypted.
create table endpoint_secret (
    endpoint text collate "C" not null references endpoint (id),
    -- 1, 2, 3: the newest signs first
    seq      bigint not null,
    -- which key it is encrypted with
    key_id   text collate "C" not null,
    sealed   bytea not null,
    made_at  bigint not null,
    -- when it stops to sign
    until    bigint,
    primary key (endpoint, seq)
);

-- One event that an endpoint did not acknowledge yet, or never will.
create table delivery (
    endpoint   text collate "C" not null references endpoint (id),
    -- where in the log the event is
    batch      bigint not null,
    place      bigint not null,
    id         text collate "C" not null unique,
    event_type text not null,
    attempts   bigint not null check (attempts > 0),
    -- when it is tried again; null: never, it was given up
    next_at    bigint,
    first_at   bigint not null,
    last_at    bigint not null,
    -- what was answered last, if anything was
    status     bigint,
    -- what the endpoint's consumer is told of the last attempt
    failure    text not null,
    primary key (endpoint, batch, place)
);

create index delivery_by_next_attempt on delivery (next_at, endpoint) where next_at is not null;
