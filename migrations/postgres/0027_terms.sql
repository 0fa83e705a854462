-- A change may also pause a subscription, or let it run again: from then on it has the plan of that change, and is paused or not.
alter table subscription_change add column paused bigint not null default 0 check (paused in (0, 1));

-- How many units it is for: what it started with, which stays, and what its end settles of the last period.
alter table subscription add column quantity bigint not null default 1 check (quantity between 0 and 1000000000);
alter table subscription add column end_charges bigint not null default 1 check (end_charges in (0, 1));
alter table subscription add column end_credits bigint not null default 1 check (end_credits in (0, 1));

create function subscription_keeps_its_terms() returns trigger language plpgsql as $$
begin
    if new.quantity is distinct from old.quantity
        or (new.end_charges is distinct from old.end_charges or new.end_credits is distinct from old.end_credits)
            and coalesce(old.ends_at <= old.closed_through, false) then
        raise exception 'what is closed of a subscription stays as it was' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger subscription_keeps_its_terms before update on subscription
for each row execute function subscription_keeps_its_terms();

-- From when a subscription is for another number of units.
create table subscription_quantity (
    subscription text   collate "C" not null references subscription (id),
    at           bigint not null,
    quantity     bigint not null check (quantity between 0 and 1000000000),
    made_at      bigint not null,
    primary key (subscription, at)
);

-- The rules are those of a change of plan.
create trigger subscription_quantity_is_in_what_is_open before insert on subscription_quantity
for each row execute function subscription_change_is_in_what_is_open();

create trigger subscription_quantity_is_never_changed before update on subscription_quantity
for each row execute function subscription_change_is_final();
create trigger subscription_quantity_is_never_emptied before truncate on subscription_quantity
for each statement execute function subscription_change_is_final();

create trigger subscription_quantity_is_only_taken_back_while_open before delete on subscription_quantity
for each row execute function subscription_change_is_only_taken_back_while_open();
