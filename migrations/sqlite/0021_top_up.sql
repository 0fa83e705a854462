-- When a consumer wants to buy prepaid credit again, and how much.
create table top_up (
    consumer   text    not null primary key references consumer (id),
    currency   text    not null,
    -- in the minor unit
    below      integer not null check (below > 0),
    amount     integer not null check (amount > 0),
    updated_at integer not null
) strict;
