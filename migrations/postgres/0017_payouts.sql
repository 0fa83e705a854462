-- Money that leaves. A payout gathers what is available to a consumer; one key proposes it and another approves it; each
-- try to send it is an attempt. Parts point forward to their payout by a key that is checked at commit, and it is let in
-- only when they add up to its amount. After that it moves along its states, and nothing else in it changes.
create table payee (
    consumer   text collate "C" not null primary key references consumer (id),
    -- JSON: how it is paid and where to; none while nobody has said
    method     text,
    verified   boolean not null,
    tax_form   boolean not null,
    sanctioned boolean not null,
    updated_at bigint  not null
);

create table payout (
    id           text collate "C" not null primary key,
    consumer     text collate "C" not null references consumer (id),
    currency     text collate "C" not null,
    -- in the minor unit
    amount       bigint  not null check (amount > 0),
    -- JSON: what was on file when it was proposed, which is what is approved
    method       text    not null,
    -- the price book whose zone dates its entries
    book_version text collate "C" not null references book_version (id),
    state        text collate "C" not null
        check (state in ('proposed', 'approved', 'sent', 'paid', 'failed', 'cancelled')),
    created_at   bigint  not null,
    -- a key, or the command that proposed it
    created_by   text collate "C" not null,
    approved_at  bigint,
    approved_by  text collate "C",
    ended_at     bigint,
    ended_by     text collate "C",
    -- maker and checker
    check (approved_by <> created_by),
    check ((approved_at is null) = (approved_by is null)),
    check ((ended_at is null) = (ended_by is null)),
    check (approved_by is not null or state in ('proposed', 'cancelled')),
    check (approved_by is null or state <> 'proposed'),
    check ((ended_at is not null) = (state in ('paid', 'failed', 'cancelled')))
);

create index payout_by_consumer on payout (consumer, id);

-- What it took: what statements grant under a program, negative ones too.
create table payout_part (
    payout      text collate "C" not null references payout (id) deferrable initially deferred,
    document    text collate "C" not null,
    program     text collate "C" not null,
    amount      bigint  not null,
    -- when its payout failed or was cancelled, so that another may take it
    released_at bigint,
    primary key (payout, document, program),
    foreign key (document, program) references payout_hold (document, program)
);

create unique index payout_part_is_taken_once on payout_part (document, program) where released_at is null;
create index payout_part_by_document on payout_part (document, payout);

-- Bank files, as they were given out.
create table payout_file (
    -- the id of the message to the bank
    id      text collate "C" not null primary key,
    made_at bigint  not null,
    body    text    not null
);

create table payout_attempt (
    payout    text collate "C" not null references payout (id),
    -- 1, 2, 3
    n         bigint  not null check (n > 0),
    -- JSON: where this one sends it
    method    text    not null,
    state     text collate "C" not null check (state in ('ready', 'sent', 'paid', 'failed', 'cancelled')),
    -- the bank's, or whoever else carries it
    reference text,
    -- why it failed
    reason    text,
    at        bigint  not null,
    sent_at   bigint,
    ended_at  bigint,
    file      text collate "C" references payout_file (id),
    primary key (payout, n),
    check ((sent_at is not null) = (state in ('sent', 'paid', 'failed'))),
    check ((ended_at is not null) = (state in ('paid', 'failed', 'cancelled'))),
    check ((reason is not null) = (state = 'failed'))
);

create unique index payout_attempt_one_at_a_time on payout_attempt (payout) where state in ('ready', 'sent');
create index payout_attempt_by_file on payout_attempt (file);

-- What a clawback takes back of what had left already, and is owed for.
create table clawback (
    document text collate "C" not null,
    program  text collate "C" not null,
    -- above zero, in the minor unit of the document's currency
    amount   bigint  not null check (amount > 0),
    primary key (document, program),
    foreign key (document, program) references payout_hold (document, program)
);

-- What was kept back for it of what became available afterwards.
create table clawback_repaid (
    -- the key of the entry that made something available
    cause        text collate "C" not null primary key,
    consumer     text collate "C" not null references consumer (id),
    currency     text collate "C" not null,
    amount       bigint  not null check (amount > 0),
    -- accounting date, YYYY-MM-DD
    effective_on text collate "C" not null check (length(effective_on) = 10),
    at           bigint  not null
);

create index clawback_repaid_by_consumer on clawback_repaid (consumer);

create function payout_is_sound() returns trigger language plpgsql as $$
begin
    if new.state <> 'proposed' then
        raise exception 'a payout begins proposed' using errcode = '23514';
    end if;
    if (select coalesce(sum(amount), 0) from payout_part where payout = new.id) <> new.amount then
        raise exception 'the parts of the payout do not add up to its amount' using errcode = '23514';
    end if;
    if exists (
        select 1
        from payout_part
        join payout_hold on payout_hold.document = payout_part.document and payout_hold.program = payout_part.program
        join document on document.id = payout_part.document
        where payout_part.payout = new.id
        and (payout_hold.passed_at is null or payout_hold.amount <> payout_part.amount
            or document.consumer <> new.consumer or document.currency <> new.currency))
    then
        raise exception 'a payout takes what is available to its consumer in its currency' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger payout_is_sound before insert on payout
for each row execute function payout_is_sound();

create function payout_only_moves_on() returns trigger language plpgsql as $$
begin
    if new.id <> old.id or new.consumer <> old.consumer or new.currency <> old.currency or new.amount <> old.amount
        or new.method <> old.method or new.book_version <> old.book_version
        or new.created_at <> old.created_at or new.created_by <> old.created_by
        or old.approved_at is not null and (
            new.approved_at is distinct from old.approved_at or new.approved_by is distinct from old.approved_by)
        or (old.approved_at is distinct from new.approved_at) <> (new.state = 'approved' and old.state = 'proposed')
        or old.state || '>' || new.state not in (
            'proposed>approved', 'proposed>cancelled', 'approved>sent', 'approved>cancelled',
            'sent>paid', 'sent>failed', 'sent>approved')
    then
        raise exception 'a payout does not move like this' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger payout_only_moves_on before update on payout
for each row execute function payout_only_moves_on();

create function payout_lets_go() returns trigger language plpgsql as $$
begin
    if new.state in ('failed', 'cancelled') then
        update payout_part set released_at = new.ended_at where payout = new.id;
    end if;
    return null;
end $$;

create trigger payout_lets_go after update on payout
for each row execute function payout_lets_go();

create function payout_part_joins_an_open_payout() returns trigger language plpgsql as $$
begin
    if new.released_at is not null or exists (select 1 from payout where id = new.payout) then
        raise exception 'the parts of this payout are final' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger payout_part_joins_an_open_payout before insert on payout_part
for each row execute function payout_part_joins_an_open_payout();

create function payout_part_is_only_released() returns trigger language plpgsql as $$
begin
    if new.payout <> old.payout or new.document <> old.document or new.program <> old.program
        or new.amount <> old.amount or old.released_at is not null or not exists (
            select 1 from payout
            where id = new.payout and state in ('failed', 'cancelled') and ended_at = new.released_at)
    then
        raise exception 'the parts of this payout are final' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger payout_part_is_only_released before update on payout_part
for each row execute function payout_part_is_only_released();

create function payout_attempt_follows_the_last() returns trigger language plpgsql as $$
begin
    if new.state <> 'ready' or new.file is not null
        or new.n <> 1 + (select count(*) from payout_attempt where payout = new.payout and state = 'failed')
        or not exists (select 1 from payout where id = new.payout and state = 'approved' and method = new.method)
    then
        raise exception 'an attempt does not begin like this' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger payout_attempt_follows_the_last before insert on payout_attempt
for each row execute function payout_attempt_follows_the_last();

create function payout_attempt_only_moves_on() returns trigger language plpgsql as $$
begin
    if new.payout <> old.payout or new.n <> old.n or new.method <> old.method or new.at <> old.at
        or old.sent_at is not null and new.sent_at is distinct from old.sent_at
        or old.file is not null and new.file is distinct from old.file
        or new.file is distinct from old.file and (old.state <> 'ready' or new.state <> 'ready')
        or new.state = 'cancelled' and old.file is not null
        or new.state = old.state and new.file is not distinct from old.file
        or new.state <> old.state
            and old.state || '>' || new.state not in ('ready>sent', 'ready>cancelled', 'sent>paid', 'sent>failed')
    then
        raise exception 'an attempt does not move like this' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger payout_attempt_only_moves_on before update on payout_attempt
for each row execute function payout_attempt_only_moves_on();

create function clawback_is_of_what_is_taken_back() returns trigger language plpgsql as $$
begin
    if not exists (
        select 1 from payout_hold
        where document = new.document and program = new.program and passed_at is not null and -amount >= new.amount)
    then
        raise exception 'no more is owed than was taken back' using errcode = '23514';
    end if;
    return new;
end $$;

create trigger clawback_is_of_what_is_taken_back before insert on clawback
for each row execute function clawback_is_of_what_is_taken_back();

-- Whoever writes here holds the lock of the journal, so that nobody adds to it at the same time.
create function clawback_is_repaid_once() returns trigger language plpgsql as $$
begin
    if (select coalesce(sum(amount), 0) from clawback_repaid
        where consumer = new.consumer and currency = new.currency)
        > (select coalesce(sum(clawback.amount), 0)
           from document join clawback on clawback.document = document.id
           where document.consumer = new.consumer and document.currency = new.currency)
    then
        raise exception 'no more is repaid than is owed' using errcode = '23514';
    end if;
    return null;
end $$;

create trigger clawback_is_repaid_once after insert on clawback_repaid
for each row execute function clawback_is_repaid_once();

create function payouts_are_final() returns trigger language plpgsql as $$
begin raise exception '% is never changed like this', tg_argv[0] using errcode = '23514'; end $$;

create trigger payout_is_never_deleted before delete on payout
for each row execute function payouts_are_final('a payout');
create trigger payout_is_never_emptied before truncate on payout
for each statement execute function payouts_are_final('a payout');
create trigger payout_part_is_never_deleted before delete on payout_part
for each row execute function payouts_are_final('a payout');
create trigger payout_part_is_never_emptied before truncate on payout_part
for each statement execute function payouts_are_final('a payout');
create trigger payout_attempt_is_never_deleted before delete on payout_attempt
for each row execute function payouts_are_final('a payout');
create trigger payout_attempt_is_never_emptied before truncate on payout_attempt
for each statement execute function payouts_are_final('a payout');
create trigger payout_file_is_never_changed before update or delete on payout_file
for each row execute function payouts_are_final('a bank file');
create trigger payout_file_is_never_emptied before truncate on payout_file
for each statement execute function payouts_are_final('a bank file');
create trigger clawback_is_never_changed before update or delete on clawback
for each row execute function payouts_are_final('a clawback');
create trigger clawback_is_never_emptied before truncate on clawback
for each statement execute function payouts_are_final('a clawback');
create trigger clawback_repaid_is_never_changed before update or delete on clawback_repaid
for each row execute function payouts_are_final('a clawback');
create trigger clawback_repaid_is_never_emptied before truncate on clawback_repaid
for each statement execute function payouts_are_final('a clawback');
