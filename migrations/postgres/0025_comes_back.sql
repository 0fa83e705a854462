-- What comes back: a payout that the bank had booked already, and a payment for an invoice that was given up.
alter table payout_attempt add column returned_at bigint;
-- why the bank sent it back
alter table payout_attempt add column return_reason text collate "C";

-- As before, but that what was paid may fail after all.
create or replace function payout_only_moves_on() returns trigger language plpgsql as $$
begin
    if new.id <> old.id or new.consumer <> old.consumer or new.currency <> old.currency or new.amount <> old.amount
        or new.method <> old.method or new.book_version <> old.book_version
        or new.created_at <> old.created_at or new.created_by <> old.created_by
        or old.approved_at is not null and (
            new.approved_at is distinct from old.approved_at or new.approved_by is distinct from old.approved_by)
        or (old.approved_at is distinct from new.approved_at) <> (new.state = 'approved' and old.state = 'proposed')
        or old.state || '>' || new.state not in (
            'proposed>approved', 'proposed>cancelled', 'approved>sent', 'approved>cancelled',
            'sent>paid', 'sent>failed', 'sent>approved', 'paid>failed')
    then
        raise exception 'a payout does not move like this' using errcode = '23514';
    end if;
    return new;
end $$;

-- An attempt that was paid stays paid, and says when it came back.
create or replace function payout_attempt_only_moves_on() returns trigger language plpgsql as $$
begin
    if new.payout <> old.payout or new.n <> old.n or new.method <> old.method or new.at <> old.at
        or old.sent_at is not null and new.sent_at is distinct from old.sent_at
        or old.file is not null and new.file is distinct from old.file
        or new.file is distinct from old.file and (old.state <> 'ready' or new.state <> 'ready')
        or new.state = 'cancelled' and old.file is not null
        or new.state = old.state and new.file is not distinct from old.file
            and new.returned_at is not distinct from old.returned_at
        or (new.returned_at is null) <> (new.return_reason is null)
        or new.returned_at is distinct from old.returned_at and (
            old.returned_at is not null or old.state <> 'paid' or new.state <> 'paid'
            or new.ended_at is distinct from old.ended_at
            or not exists (
                select 1 from payout where id = new.payout and state = 'failed' and ended_at = new.returned_at))
        or new.state <> old.state
            and old.state || '>' || new.state not in ('ready>sent', 'ready>cancelled', 'sent>paid', 'sent>failed')
    then
        raise exception 'an attempt does not move like this' using errcode = '23514';
    end if;
    return new;
end $$;

create or replace function settlement_is_sound() returns trigger language plpgsql as $$
declare
    total_of_invoice bigint;
    given_up bigint;
begin
    -- Two that settle one invoice take turns.
    select total into total_of_invoice from document where id = new.invoice and kind = 'invoice' for update;
    if new.seq <> (select count(*) from settlement where invoice = new.invoice) + 1 then
        raise exception 'this is not the next settlement of its invoice' using errcode = '23514';
    end if;
    if coalesce((select coalesce(sum(amount), 0) from settlement where invoice = new.invoice) + new.amount
        not between least(total_of_invoice, 0) and greatest(total_of_invoice, 0), true)
    then
        raise exception 'more would be settled of an invoice than it comes to' using errcode = '23514';
    end if;
    if exists (select 1 from settlement where invoice = new.invoice and means = 'void') then
        raise exception 'an invoice that is void is not settled' using errcode = '23514';
    end if;
    -- Null unless it was.
    select sum(amount) into given_up from settlement where invoice = new.invoice and means = 'uncollectible';
    if given_up is not null and (case new.means
        when 'uncollectible' then new.amount > 0 or new.amount + given_up < 0
        when 'payment' then false
        else given_up <> 0
    end) then
        raise exception 'an invoice is given up once, and of one that was only what is paid after all is settled'
            using errcode = '23514';
    end if;
    if (new.amount < 0) <> (total_of_invoice < 0) and (new.means <> 'uncollectible' or given_up is null) then
        raise exception 'a settlement is of the sign of its invoice, unless it takes back that it was given up'
            using errcode = '23514';
    end if;
    if new.means = 'uncollectible' and new.amount > 0
        and (select coalesce(sum(amount), 0) from settlement where invoice = new.invoice) + new.amount <> total_of_invoice
    then
        raise exception 'an invoice is given up with all that is owed of it' using errcode = '23514';
    end if;
    if new.means = 'void' and (new.seq <> 1 or new.amount <> total_of_invoice) then
        raise exception 'an invoice is voided before anything is settled of it, and as a whole' using errcode = '23514';
    end if;
    return new;
end $$;
