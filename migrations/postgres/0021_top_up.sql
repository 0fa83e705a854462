-- When a consumer wants to buy prepaid credit again, and how much.
create table top_up (
    consumer   text collate "C" not null primary key references consumer (id),
    currency   text collate "C" not null,
    -- in the minor unit
    below      bigint not null check (below > 0),
    amount     bigint not null check (amount > 0),
    updated_at bigint not null
);
