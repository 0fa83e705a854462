-- Usage by item: what an aggregation keeps apart within a bucket (a distinct value, a position in time, an event).
-- Every row only adds up, so that any event can be taken back.
create table usage_by_item (
    meter      text    not null references meter (id),
    party      text    not null,
    bucket     integer not null,
    -- JSON object with sorted keys
    dimensions text    not null,
    -- empty where the aggregation only adds up
    item       text    not null,
    value      text    not null,
    count      integer not null,
    primary key (meter, party, bucket, dimensions, item)
) strict, without rowid;

-- Usage is derived: it is folded anew from the log, with the items that were not kept before.
drop table usage;
alter table usage_by_item rename to usage;
update partition set applied_seq = 0;
