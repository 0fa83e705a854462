-- Usage by item: what an aggregation keeps apart within a bucket (a distinct value, a position in time, an event).
-- Every row only adds up, so that any event can be taken back.
create table usage_by_item (
    meter      text    collate "C" not null references meter (id),
    party      text    collate "C" not null,
    bucket     bigint  not null,
    -- JSON object with sorted keys
    dimensions text    collate "C" not null,
    -- empty where the aggregation only adds up
    item       text    collate "C" not null,
    value      numeric not null,
    count      bigint  not null,
    primary key (meter, party, bucket, dimensions, item)
);

-- Usage is derived: it is folded anew from the log, with the items that were not kept before.
drop table usage;
alter table usage_by_item rename to usage;
update partition set applied_seq = 0;
