-- Rewards that pay for an invoice of the same consumer: what of which statement was used for it. The parts of a settlement
-- come before it and point forward, and it is let in only when they add up to it.
create table netting (
    invoice  text    not null,
    -- of the settlement
    seq      integer not null,
    document text    not null,
    program  text    not null,
    -- in the minor unit
    amount   integer not null check (amount > 0),
    primary key (invoice, seq, document, program),
    foreign key (invoice, seq) references settlement (invoice, seq) deferrable initially deferred,
    foreign key (document, program) references payout_hold (document, program)
) strict, without rowid;

create index netting_by_document on netting (document, program);

create trigger netting_is_of_what_is_available after insert on netting
begin
    select raise(abort, 'the settlement of these rewards is final')
    where exists (select 1 from settlement where invoice = new.invoice and seq = new.seq);

    select raise(abort, 'rewards pay for an invoice of their consumer, in their currency, with what is available')
    where not exists (
        select 1
        from payout_hold
        join document as statement on statement.id = payout_hold.document
        join document as invoice on invoice.id = new.invoice and invoice.kind = 'invoice'
        where payout_hold.document = new.document and payout_hold.program = new.program
        and payout_hold.passed_at is not null
        and invoice.consumer = statement.consumer and invoice.currency = statement.currency
        and payout_hold.amount >= (
            select sum(amount) from netting where document = new.document and program = new.program));

    select raise(abort, 'these rewards are in a payout')
    where exists (
        select 1 from payout_part
        where document = new.document and program = new.program and released_at is null);
end;

create trigger settlement_by_rewards_is_their_sum before insert on settlement
when (new.means = 'rewards') <> exists (select 1 from netting where invoice = new.invoice and seq = new.seq)
    or new.means = 'rewards' and new.amount <> (
        select sum(amount) from netting where invoice = new.invoice and seq = new.seq)
begin select raise(abort, 'the rewards that are used do not add up to the settlement'); end;

drop trigger payout_is_sound;

-- As before, but that a payout takes what is left of what was granted.
create trigger payout_is_sound after insert on payout
begin
    select raise(abort, 'a payout begins proposed') where new.state <> 'proposed';

    select raise(abort, 'the parts of the payout do not add up to its amount')
    where (select coalesce(sum(amount), 0) from payout_part where payout = new.id) <> new.amount;

    select raise(abort, 'a payout takes what is available to its consumer in its currency')
    where exists (
        select 1
        from payout_part
        join payout_hold on payout_hold.document = payout_part.document and payout_hold.program = payout_part.program
        join document on document.id = payout_part.document
        where payout_part.payout = new.id
        and (payout_hold.passed_at is null
            or payout_part.amount <> payout_hold.amount - (
                select coalesce(sum(netting.amount), 0) from netting
                where netting.document = payout_part.document and netting.program = payout_part.program)
            or document.consumer <> new.consumer or document.currency <> new.currency));
end;

create trigger netting_is_never_changed before update on netting
begin select raise(abort, 'what was settled is never changed'); end;
create trigger netting_is_never_deleted before delete on netting
begin select raise(abort, 'what was settled is never changed'); end;
