-- What Stripe is asked, and what it tells. Whatever moves money is written down here, with its idempotency key, before Stripe is
-- asked; what Stripe tells is kept as it came before anybody tries to understand it.
create table stripe_call (
    -- the idempotency key: one a try
    id         text not null primary key,
    kind       text not null
        check (kind in ('transfer', 'reversal', 'customer', 'invoice', 'invoice_item', 'finalize')),
    -- the payout, the invoice or the consumer that it is for
    subject    text not null,
    currency   text,
    -- in the minor unit
    amount     integer check (amount > 0),
    -- what Stripe does it to: an account, a transfer, a customer, an invoice
    target     text,
    asked_at   integer not null,
    -- how often it was asked without an answer, and why there was none the last time
    tries      integer not null check (tries >= 0),
    last_error text,
    state      text not null check (state in ('asked', 'done', 'refused')),
    -- what Stripe made of it
    object     text,
    reason     text,
    check ((currency is null) = (amount is null)),
    check ((object is not null) = (state = 'done')),
    check ((reason is not null) = (state = 'refused'))
) strict;

-- Nothing is asked twice under two keys.
create unique index stripe_call_one_at_a_time on stripe_call (kind, subject) where state = 'asked';
create index stripe_call_by_subject on stripe_call (subject);
create unique index stripe_call_by_object on stripe_call (kind, object) where object is not null;

create table stripe_event (
    -- Stripe's
    id            text not null primary key,
    kind          text not null,
    -- the connected account that it is of, if it is of one
    account       text,
    -- when it happened, by Stripe's clock
    created_at    integer not null,
    received_at   integer not null,
    -- as it came
    body          text not null,
    understood_at integer,
    -- what came of it
    outcome       text,
    check ((understood_at is null) = (outcome is null))
) strict;

create index stripe_event_not_understood on stripe_event (received_at, id) where understood_at is null;

-- Payouts from connected accounts to banks. Stripe says that one is paid, and may say later that it failed after all.
create table stripe_bank_payout (
    id       text not null primary key,
    account  text not null,
    currency text not null,
    amount   integer not null,
    state    text not null check (state in ('pending', 'in_transit', 'paid', 'canceled', 'failed')),
    reason   text,
    at       integer not null
) strict;

create trigger stripe_call_begins_asked before insert on stripe_call when new.state <> 'asked' or new.tries <> 0
begin select raise(abort, 'what Stripe is asked is written down before'); end;
create trigger stripe_call_is_answered_once before update on stripe_call
when new.id <> old.id or new.kind <> old.kind or new.subject <> old.subject or new.currency is not old.currency
    or new.amount is not old.amount or new.target is not old.target or new.asked_at <> old.asked_at
    or new.tries < old.tries or old.state <> 'asked'
begin select raise(abort, 'what Stripe was asked, and answered, stays'); end;
create trigger stripe_call_is_never_deleted before delete on stripe_call
begin select raise(abort, 'what Stripe was asked, and answered, stays'); end;
create trigger stripe_event_is_understood_once before update on stripe_event
when new.id <> old.id or new.kind <> old.kind or new.account is not old.account or new.created_at <> old.created_at
    or new.received_at <> old.received_at or new.body <> old.body or old.understood_at is not null
begin select raise(abort, 'what Stripe told stays as it came'); end;
create trigger stripe_event_is_never_deleted before delete on stripe_event
begin select raise(abort, 'what Stripe told stays as it came'); end;
