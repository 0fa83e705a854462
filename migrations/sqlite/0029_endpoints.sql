-- Webhooks: where consumers want events delivered, and what did not arrive at once. What arrives leaves no row: an endpoint
-- keeps how far in the log everything was delivered or written down here.

create table endpoint (
    id            text    not null primary key,
    consumer      text    not null references consumer (id),
    url           text    not null,
    description   text    not null,
    -- JSON: filters in the dialects of CloudEvents subscriptions
    filters       text    not null,
    state         text    not null check (state in ('active', 'paused', 'disabled', 'removed')),
    -- why it is not active
    reason        text,
    made_at       integer not null,
    changed_at    integer not null,
    -- through which batch of the log everything was delivered or written down
    through       integer not null check (through >= 0),
    -- the first attempt that failed since one was acknowledged
    failing_since integer,
    check ((state = 'active') = (reason is null))
) strict;

create index endpoint_by_consumer on endpoint (consumer, id);

-- What deliveries are signed with, as it is kept: encrypted.
create table endpoint_secret (
    endpoint text    not null references endpoint (id),
    -- 1, 2, 3: the newest signs first
    seq      integer not null,
    -- which key it is encrypted with
    key_id   text    not null,
    sealed   blob    not null,
    made_at  integer not null,
    -- when it stops to sign
    until    integer,
    primary key (endpoint, seq)
) strict, without rowid;

-- One event that an endpoint did not acknowledge yet, or never will.
create table delivery (
    endpoint   text    not null references endpoint (id),
    -- where in the log the event is
    batch      integer not null,
    place      integer not null,
    id         text    not null unique,
    event_type text    not null,
    attempts   integer not null check (attempts > 0),
    -- when it is tried again; null: never, it was given up
    next_at    integer,
    first_at   integer not null,
    last_at    integer not null,
    -- what was answered last, if anything was
    status     integer,
    -- what the endpoint's consumer is told of the last attempt
    failure    text    not null,
    primary key (endpoint, batch, place)
) strict, without rowid;

create index delivery_by_next_attempt on delivery (next_at, endpoint) where next_at is not null;
