-- Prepaid credit: what was bought or given, and what became of it. Only appended to.
create table credit_grant (
    id           text    not null primary key,
    consumer     text    not null references consumer (id),
    currency     text    not null,
    -- in the minor unit
    amount       integer not null check (amount > 0),
    source       text    not null check (source in ('granted', 'purchased')),
    -- the lowest is used first
    priority     integer not null,
    effective_at integer not null,
    -- exclusive
    expires_at   integer,
    reference    text    not null,
    reason       text    not null,
    effective_on text    not null check (length(effective_on) = 10),
    recorded_at  integer not null,
    -- id of a key
    recorded_by  text    not null,
    check (expires_at > effective_at)
) strict;

create index credit_grant_by_consumer on credit_grant (consumer, id);
create index credit_grant_expiring on credit_grant (expires_at) where expires_at is not null;

create table credit_movement (
    -- named `grant_id`, since `grant` is a word of SQL
    grant_id     text    not null references credit_grant (id),
    -- 1, 2, 3 of the grant
    seq          integer not null,
    kind         text    not null check (kind in ('drawn', 'expired', 'voided')),
    amount       integer not null check (amount > 0),
    -- what it was drawn for
    invoice      text    references document (id),
    reason       text,
    at           integer not null,
    effective_on text    not null check (length(effective_on) = 10),
    recorded_at  integer not null,
    -- id of a key; null where a closing did it
    recorded_by  text,
    primary key (grant_id, seq),
    check ((invoice is not null) = (kind = 'drawn'))
) strict, without rowid;

create index credit_movement_by_invoice on credit_movement (invoice) where invoice is not null;

create trigger credit_movement_is_sound before insert on credit_movement
begin
    select raise(abort, 'this is not the next movement of its grant')
    where new.seq <> (select count(*) from credit_movement where grant_id = new.grant_id) + 1;

    select raise(abort, 'more would be taken of a grant than is left')
    where (select coalesce(sum(amount), 0) from credit_movement where grant_id = new.grant_id) + new.amount
        > (select amount from credit_grant where id = new.grant_id);
end;

create trigger credit_grant_is_never_changed before update on credit_grant
begin select raise(abort, 'what was granted is never changed'); end;
create trigger credit_grant_is_never_deleted before delete on credit_grant
begin select raise(abort, 'what was granted is never changed'); end;
create trigger credit_movement_is_never_changed before update on credit_movement
begin select raise(abort, 'what was granted is never changed'); end;
create trigger credit_movement_is_never_deleted before delete on credit_movement
begin select raise(abort, 'what was granted is never changed'); end;
