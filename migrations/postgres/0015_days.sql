-- The day of the month on which its periods begin, where a subscription started with one of its own.
alter table subscription add column anchor_day bigint check (anchor_day between 1 and 31);

create function subscription_keeps_its_first_day() returns trigger language plpgsql as $$
begin
    if new.anchor_day is distinct from old.anchor_day then
        raise exception 'what is closed of a subscription stays as it was' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger subscription_keeps_its_first_day before update on subscription
for each row execute function subscription_keeps_its_first_day();

-- From when a subscription has another billing day: of the periods that begin then or later. None for the plan's own.
create table subscription_day (
    subscription text   collate "C" not null references subscription (id),
    at           bigint not null,
    anchor_day   bigint check (anchor_day between 1 and 31),
    made_at      bigint not null,
    primary key (subscription, at)
);

-- The rules are those of a change of plan.
create trigger subscription_day_is_in_what_is_open before insert on subscription_day
for each row execute function subscription_change_is_in_what_is_open();

create trigger subscription_day_is_never_changed before update on subscription_day
for each row execute function subscription_change_is_final();
create trigger subscription_day_is_never_emptied before truncate on subscription_day
for each statement execute function subscription_change_is_final();

create trigger subscription_day_is_only_taken_back_while_open before delete on subscription_day
for each row execute function subscription_change_is_only_taken_back_while_open();
