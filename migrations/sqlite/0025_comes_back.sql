-- What comes back: a payout that the bank had booked already, and a payment for an invoice that was given up.
alter table payout_attempt add column returned_at integer;
-- why the bank sent it back
alter table payout_attempt add column return_reason text;

drop trigger payout_only_moves_on;
drop trigger payout_attempt_only_moves_on;
drop trigger settlement_is_sound;

-- As before, but that what was paid may fail after all.
create trigger payout_only_moves_on before update on payout
when new.id <> old.id or new.consumer <> old.consumer or new.currency <> old.currency or new.amount <> old.amount
    or new.method <> old.method or new.book_version <> old.book_version
    or new.created_at <> old.created_at or new.created_by <> old.created_by
    or old.approved_at is not null and (new.approved_at is not old.approved_at or new.approved_by is not old.approved_by)
    or (old.approved_at is not new.approved_at) <> (new.state = 'approved' and old.state = 'proposed')
    or old.state || '>' || new.state not in (
        'proposed>approved', 'proposed>cancelled', 'approved>sent', 'approved>cancelled',
        'sent>paid', 'sent>failed', 'sent>approved', 'paid>failed')
begin select raise(abort, 'a payout does not move like this'); end;

-- An attempt that was paid stays paid, and says when it came back.
create trigger payout_attempt_only_moves_on before update on payout_attempt
when new.payout <> old.payout or new.n <> old.n or new.method <> old.method or new.at <> old.at
    or old.sent_at is not null and new.sent_at is not old.sent_at
    or old.file is not null and new.file is not old.file
    or new.file is not old.file and (old.state <> 'ready' or new.state <> 'ready')
    or new.state = 'cancelled' and old.file is not null
    or new.state = old.state and new.file is old.file and new.returned_at is old.returned_at
    or (new.returned_at is null) <> (new.return_reason is null)
    or new.returned_at is not old.returned_at and (
        old.returned_at is not null or old.state <> 'paid' or new.state <> 'paid' or new.ended_at is not old.ended_at
        or not exists (select 1 from payout where id = new.payout and state = 'failed' and ended_at = new.returned_at))
    or new.state <> old.state
        and old.state || '>' || new.state not in ('ready>sent', 'ready>cancelled', 'sent>paid', 'sent>failed')
begin select raise(abort, 'an attempt does not move like this'); end;

create trigger settlement_is_sound before insert on settlement
begin
    select raise(abort, 'this is not the next settlement of its invoice')
    where new.seq <> (select count(*) from settlement where invoice = new.invoice) + 1;

    select raise(abort, 'more would be settled of an invoice than it comes to')
    where not exists (
        select 1 from document
        where id = new.invoice and kind = 'invoice'
        and (select coalesce(sum(amount), 0) from settlement where invoice = new.invoice) + new.amount
            between min(total, 0) and max(total, 0));

    select raise(abort, 'an invoice that is void is not settled')
    where exists (select 1 from settlement where invoice = new.invoice and means = 'void');

    select raise(abort, 'an invoice is given up once, and of one that was only what is paid after all is settled')
    where exists (select 1 from settlement where invoice = new.invoice and means = 'uncollectible')
    and case new.means
        when 'uncollectible' then new.amount > 0 or new.amount + (
            select sum(amount) from settlement where invoice = new.invoice and means = 'uncollectible') < 0
        when 'payment' then false
        else (select sum(amount) from settlement where invoice = new.invoice and means = 'uncollectible') <> 0
    end;

    select raise(abort, 'a settlement is of the sign of its invoice, unless it takes back that it was given up')
    where (new.amount < 0) <> (select total < 0 from document where id = new.invoice)
    and not (new.means = 'uncollectible'
        and exists (select 1 from settlement where invoice = new.invoice and means = 'uncollectible'));

    select raise(abort, 'an invoice is given up with all that is owed of it')
    where new.means = 'uncollectible' and new.amount > 0
    and (select coalesce(sum(amount), 0) from settlement where invoice = new.invoice) + new.amount
        <> (select total from document where id = new.invoice);

    select raise(abort, 'an invoice is voided before anything is settled of it, and as a whole')
    where new.means = 'void' and (
        new.seq <> 1 or new.amount <> (select total from document where id = new.invoice));
end;
