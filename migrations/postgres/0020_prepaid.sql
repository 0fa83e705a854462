-- Prepaid credit: what was bought or given, and what became of it. Only appended to.
create table credit_grant (
    id           text collate "C" not null primary key,
    consumer     text collate "C" not null references consumer (id),
    currency     text collate "C" not null,
    -- in the minor unit
    amount       bigint not null check (amount > 0),
    source       text collate "C" not null check (source in ('granted', 'purchased')),
    -- the lowest is used first
    priority     bigint not null,
    effective_at bigint not null,
    -- exclusive
    expires_at   bigint,
    reference    text collate "C" not null,
    reason       text collate "C" not null,
    effective_on text collate "C" not null check (length(effective_on) = 10),
    recorded_at  bigint not null,
    -- id of a key
    recorded_by  text collate "C" not null,
    check (expires_at > effective_at)
);

create index credit_grant_by_consumer on credit_grant (consumer, id);
create index credit_grant_expiring on credit_grant (expires_at) where expires_at is not null;

create table credit_movement (
    -- named `grant_id`, since `grant` is a word of SQL
    grant_id     text collate "C" not null references credit_grant (id),
    -- 1, 2, 3 of the grant
    seq          bigint not null,
    kind         text collate "C" not null check (kind in ('drawn', 'expired', 'voided')),
    amount       bigint not null check (amount > 0),
    -- what it was drawn for
    invoice      text collate "C" references document (id),
    reason       text collate "C",
    at           bigint not null,
    effective_on text collate "C" not null check (length(effective_on) = 10),
    recorded_at  bigint not null,
    -- id of a key; null where a closing did it
    recorded_by  text collate "C",
    primary key (grant_id, seq),
    check ((invoice is not null) = (kind = 'drawn'))
);

create index credit_movement_by_invoice on credit_movement (invoice) where invoice is not null;

-- Before each row, where the rows before it in the same statement can be seen.
create function credit_movement_is_sound() returns trigger language plpgsql as $$
declare
    granted bigint;
begin
    -- Two that take of one grant take turns.
    select amount into granted from credit_grant where id = new.grant_id for update;
    if new.seq <> (select count(*) from credit_movement where grant_id = new.grant_id) + 1 then
        raise exception 'this is not the next movement of its grant' using errcode = '23514';
    end if;
    if (select coalesce(sum(amount), 0) from credit_movement where grant_id = new.grant_id) + new.amount > granted then
        raise exception 'more would be taken of a grant than is left' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger credit_movement_is_sound before insert on credit_movement
for each row execute function credit_movement_is_sound();

create function granted_is_never_changed() returns trigger language plpgsql as $$
begin
    raise exception 'what was granted is never changed' using errcode = '23514';
end $$;

create trigger credit_grant_is_never_changed before update or delete or truncate on credit_grant
for each statement execute function granted_is_never_changed();
create trigger credit_movement_is_never_changed before update or delete or truncate on credit_movement
for each statement execute function granted_is_never_changed();
