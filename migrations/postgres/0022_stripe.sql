-- What Stripe is asked, and what it tells. Whatever moves money is written down here, with its idempotency key, before Stripe is
-- asked; what Stripe tells is kept as it came before anybody tries to understand it.
create table stripe_call (
    -- the idempotency key: one a try
    id         text collate "C" not null primary key,
    kind       text collate "C" not null
        check (kind in ('transfer', 'reversal', 'customer', 'invoice', 'invoice_item', 'finalize')),
    -- the payout, the invoice or the consumer that it is for
    subject    text collate "C" not null,
    currency   text collate "C",
    -- in the minor unit
    amount     bigint check (amount > 0),
    -- what Stripe does it to: an account, a transfer, a customer, an invoice
    target     text collate "C",
    asked_at   bigint not null,
    -- how often it was asked without an answer, and why there was none the last time
    tries      bigint not null check (tries >= 0),
    last_error text collate "C",
    state      text collate "C" not null check (state in ('asked', 'done', 'refused')),
    -- what Stripe made of it
    object     text collate "C",
    reason     text collate "C",
    check ((currency is null) = (amount is null)),
    check ((object is not null) = (state = 'done')),
    check ((reason is not null) = (state = 'refused'))
);

-- Nothing is asked twice under two keys.
create unique index stripe_call_one_at_a_time on stripe_call (kind, subject) where state = 'asked';
create index stripe_call_by_subject on stripe_call (subject);
create unique index stripe_call_by_object on stripe_call (kind, object) where object is not null;

create table stripe_event (
    -- Stripe's
    id            text collate "C" not null primary key,
    kind          text collate "C" not null,
    -- the connected account that it is of, if it is of one
    account       text collate "C",
    -- when it happened, by Stripe's clock
    created_at    bigint not null,
    received_at   bigint not null,
    -- as it came
    body          text collate "C" not null,
    understood_at bigint,
    -- what came of it
    outcome       text collate "C",
    check ((understood_at is null) = (outcome is null))
);

create index stripe_event_not_understood on stripe_event (received_at, id) where understood_at is null;

-- Payouts from connected accounts to banks. Stripe says that one is paid, and may say later that it failed after all.
create table stripe_bank_payout (
    id       text collate "C" not null primary key,
    account  text collate "C" not null,
    currency text collate "C" not null,
    amount   bigint not null,
    state    text collate "C" not null check (state in ('pending', 'in_transit', 'paid', 'canceled', 'failed')),
    reason   text collate "C",
    at       bigint not null
);

create function stripe_call_begins_asked() returns trigger language plpgsql as $$
begin
    if new.state <> 'asked' or new.tries <> 0 then
        raise exception 'what Stripe is asked is written down before' using errcode = '23514';
    end if;
    return new;
end $$;
create trigger stripe_call_begins_asked before insert on stripe_call
for each row execute function stripe_call_begins_asked();

create function stripe_call_is_answered_once() returns trigger language plpgsql as $$
begin
    if new.id <> old.id or new.kind <> old.kind or new.subject <> old.subject
        or new.currency is distinct from old.currency or new.amount is distinct from old.amount
        or new.target is distinct from old.target or new.asked_at <> old.asked_at
        or new.tries < old.tries or old.state <> 'asked'
    then
        raise exception 'what Stripe was asked, and answered, stays' using errcode = '23514';
    end if;
    return new;
end $$;
create trigger stripe_call_is_answered_once before update on stripe_call
for each row execute function stripe_call_is_answered_once();

create function stripe_event_is_understood_once() returns trigger language plpgsql as $$
begin
    if new.id <> old.id or new.kind <> old.kind or new.account is distinct from old.account
        or new.created_at <> old.created_at or new.received_at <> old.received_at or new.body <> old.body
        or old.understood_at is not null
    then
        raise exception 'what Stripe told stays as it came' using errcode = '23514';
    end if;
    return new;
end $$;
create trigger stripe_event_is_understood_once before update on stripe_event
for each row execute function stripe_event_is_understood_once();

create function stripe_is_never_forgotten() returns trigger language plpgsql as $$
begin raise exception 'what Stripe was asked, and told, stays' using errcode = '23514'; end $$;
create trigger stripe_call_is_never_deleted before delete on stripe_call
for each row execute function stripe_is_never_forgotten();
create trigger stripe_call_is_never_emptied before truncate on stripe_call
for each statement execute function stripe_is_never_forgotten();
create trigger stripe_event_is_never_deleted before delete on stripe_event
for each row execute function stripe_is_never_forgotten();
create trigger stripe_event_is_never_emptied before truncate on stripe_event
for each statement execute function stripe_is_never_forgotten();
