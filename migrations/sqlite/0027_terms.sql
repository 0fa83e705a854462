-- A change may also pause a subscription, or let it run again: from then on it has the plan of that change, and is paused or not.
alter table subscription_change add column paused integer not null default 0 check (paused in (0, 1));

-- How many units it is for: what it started with, which stays, and what its end settles of the last period.
alter table subscription add column quantity integer not null default 1 check (quantity between 0 and 1000000000);
alter table subscription add column end_charges integer not null default 1 check (end_charges in (0, 1));
alter table subscription add column end_credits integer not null default 1 check (end_credits in (0, 1));

create trigger subscription_keeps_its_first_quantity before update on subscription
when new.quantity is not old.quantity
begin select raise(abort, 'what is closed of a subscription stays as it was'); end;

create trigger subscription_keeps_what_its_end_settled before update on subscription
when (new.end_charges is not old.end_charges or new.end_credits is not old.end_credits)
    and coalesce(old.ends_at <= old.closed_through, 0)
begin select raise(abort, 'what is closed of a subscription stays as it was'); end;

-- From when a subscription is for another number of units.
create table subscription_quantity (
    subscription text    not null references subscription (id),
    at           integer not null,
    quantity     integer not null check (quantity between 0 and 1000000000),
    made_at      integer not null,
    primary key (subscription, at)
) strict, without rowid;

create trigger subscription_quantity_is_in_what_is_open before insert on subscription_quantity
when exists (
    select 1 from subscription
    where id = new.subscription and (new.at <= closed_through or new.at >= coalesce(ends_at, new.at + 1)))
begin select raise(abort, 'what is closed of a subscription stays as it was'); end;

create trigger subscription_quantity_is_never_changed before update on subscription_quantity
begin select raise(abort, 'what is closed of a subscription stays as it was'); end;

create trigger subscription_quantity_is_only_taken_back_while_open before delete on subscription_quantity
when exists (select 1 from subscription where id = old.subscription and old.at <= closed_through)
begin select raise(abort, 'what is closed of a subscription stays as it was'); end;
