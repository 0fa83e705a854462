-- The day of the month on which its periods begin, where a subscription started with one of its own.
alter table subscription add column anchor_day integer check (anchor_day between 1 and 31);

create trigger subscription_keeps_its_first_day before update on subscription
when new.anchor_day is not old.anchor_day
begin select raise(abort, 'what is closed of a subscription stays as it was'); end;

-- From when a subscription has another billing day: of the periods that begin then or later. None for the plan's own.
create table subscription_day (
    subscription text    not null references subscription (id),
    at           integer not null,
    anchor_day   integer check (anchor_day between 1 and 31),
    made_at      integer not null,
    primary key (subscription, at)
) strict, without rowid;

create trigger subscription_day_is_in_what_is_open before insert on subscription_day
when exists (
    select 1 from subscription
    where id = new.subscription and (new.at <= closed_through or new.at >= coalesce(ends_at, new.at + 1)))
begin select raise(abort, 'what is closed of a subscription stays as it was'); end;

create trigger subscription_day_is_never_changed before update on subscription_day
begin select raise(abort, 'what is closed of a subscription stays as it was'); end;

create trigger subscription_day_is_only_taken_back_while_open before delete on subscription_day
when exists (select 1 from subscription where id = old.subscription and old.at <= closed_through)
begin select raise(abort, 'what is closed of a subscription stays as it was'); end;
