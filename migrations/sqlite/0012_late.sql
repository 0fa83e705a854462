-- Up to when periods were closed, or are about to be: a flush notes what it adds before that, since a closing may not have
-- seen it. Set before a closing reads usage.
alter table partition add column closing_through integer not null default -9223372036854775808;

-- Usage that was added where periods were closed already, until the next closing of its party has taken it into account.
create table late_usage (
    party  text    not null,
    bucket integer not null,
    meter  text    not null,
    -- 1, 2, 3: which flush or replay added to it last
    noted  integer not null,
    primary key (party, bucket, meter)
) strict, without rowid;

create index late_usage_by_note on late_usage (noted);

-- Closed periods that are to be rated again with the next document of their subscription.
create table pending_adjustment (
    subscription text    not null references subscription (id),
    period_from  integer not null,
    primary key (subscription, period_from)
) strict, without rowid;

create index document_by_subscription on document (subscription);
create index closed_period_by_end on closed_period (subscription, period_to);
