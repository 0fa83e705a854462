-- Rewards that pay for an invoice of the same consumer: what of which statement was used for it. The parts of a settlement
-- come before it and point forward, and it is let in only when they add up to it.
create table netting (
    invoice  text collate "C" not null,
    -- of the settlement
    seq      bigint  not null,
    document text collate "C" not null,
    program  text collate "C" not null,
    -- in the minor unit
    amount   bigint  not null check (amount > 0),
    primary key (invoice, seq, document, program),
    foreign key (invoice, seq) references settlement (invoice, seq) deferrable initially deferred,
    foreign key (document, program) references payout_hold (document, program)
);

create index netting_by_document on netting (document, program);

create function netting_is_of_what_is_available() returns trigger language plpgsql as $$
begin
    -- A payout that takes the same waits for this, and this for that.
    perform 1 from payout_hold where document = new.document and program = new.program for update;
    if exists (select 1 from settlement where invoice = new.invoice and seq = new.seq) then
        raise exception 'the settlement of these rewards is final' using errcode = '23514';
    end if;
    if not exists (
        select 1
        from payout_hold
        join document as statement on statement.id = payout_hold.document
        join document as invoice on invoice.id = new.invoice and invoice.kind = 'invoice'
        where payout_hold.document = new.document and payout_hold.program = new.program
        and payout_hold.passed_at is not null
        and invoice.consumer = statement.consumer and invoice.currency = statement.currency
        and payout_hold.amount >= new.amount + (
            select coalesce(sum(amount), 0) from netting where document = new.document and program = new.program))
    then
        raise exception 'rewards pay for an invoice of their consumer, in their currency, with what is available'
            using errcode = '23514';
    end if;
    if exists (
        select 1 from payout_part
        where document = new.document and program = new.program and released_at is null)
    then
        raise exception 'these rewards are in a payout' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger netting_is_of_what_is_available before insert on netting
for each row execute function netting_is_of_what_is_available();

create function settlement_by_rewards_is_their_sum() returns trigger language plpgsql as $$
begin
    if (new.means = 'rewards') <> exists (select 1 from netting where invoice = new.invoice and seq = new.seq)
        or new.means = 'rewards' and new.amount <> (
            select sum(amount) from netting where invoice = new.invoice and seq = new.seq)
    then
        raise exception 'the rewards that are used do not add up to the settlement' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger settlement_by_rewards_is_their_sum before insert on settlement
for each row execute function settlement_by_rewards_is_their_sum();

-- As before, but that a payout takes what is left of what was granted.
create or replace function payout_is_sound() returns trigger language plpgsql as $$
begin
    if new.state <> 'proposed' then
        raise exception 'a payout begins proposed' using errcode = '23514';
    end if;
    if (select coalesce(sum(amount), 0) from payout_part where payout = new.id) <> new.amount then
        raise exception 'the parts of the payout do not add up to its amount' using errcode = '23514';
    end if;
    -- Rewards that pay for an invoice wait for this, and this for them.
    perform 1 from payout_hold
    where (document, program) in (select document, program from payout_part where payout = new.id)
    order by document, program for update;
    if exists (
        select 1
        from payout_part
        join payout_hold on payout_hold.document = payout_part.document and payout_hold.program = payout_part.program
        join document on document.id = payout_part.document
        where payout_part.payout = new.id
        and (payout_hold.passed_at is null
            or payout_part.amount <> payout_hold.amount - (
                select coalesce(sum(netting.amount), 0) from netting
                where netting.document = payout_part.document and netting.program = payout_part.program)
            or document.consumer <> new.consumer or document.currency <> new.currency))
    then
        raise exception 'a payout takes what is available to its consumer in its currency' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger netting_is_never_changed before update or delete or truncate on netting
for each statement execute function settled_is_never_changed();
