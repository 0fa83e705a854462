-- From when a subscription is billed under another plan, or the same one again under the price book of that time. Until
-- the first change it is the plan that it started with.
create table subscription_change (
    subscription text    not null references subscription (id),
    at           integer not null,
    plan         text    not null,
    made_at      integer not null,
    primary key (subscription, at)
) strict, without rowid;

create trigger subscription_change_is_in_what_is_open before insert on subscription_change
when exists (
    select 1 from subscription
    where id = new.subscription and (new.at <= closed_through or new.at >= coalesce(ends_at, new.at + 1)))
begin select raise(abort, 'what is closed of a subscription stays as it was'); end;

create trigger subscription_change_is_never_changed before update on subscription_change
begin select raise(abort, 'what is closed of a subscription stays as it was'); end;

create trigger subscription_change_is_only_taken_back_while_open before delete on subscription_change
when exists (select 1 from subscription where id = old.subscription and old.at <= closed_through)
begin select raise(abort, 'what is closed of a subscription stays as it was'); end;

-- Up to when its fees in advance are on documents; none if none are.
alter table subscription add column advance_through integer;

-- The price book of the period that is open, once a document has charged fees of it: another that is published is for the
-- next one.
alter table subscription add column book_version text references book_version (id);

-- How often its changes or its end were set: a closing that began before is not to close past them.
alter table subscription add column revision integer not null default 0;

-- Up to when a closing charged fees in advance of the period after; none where the subscription ends.
alter table closed_period add column next_period_to integer;
