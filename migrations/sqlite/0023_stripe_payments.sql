-- Payments that came through Stripe, which keeps a fee of each, and who is whose customer there.
alter table payment add column stripe_fee integer check (stripe_fee <= amount);

create table stripe_customer (
    consumer text not null primary key references consumer (id),
    -- Stripe's id
    customer text not null
) strict;
