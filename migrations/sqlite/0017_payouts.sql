-- Money that leaves. A payout gathers what is available to a consumer; one key proposes it and another approves it; each
-- try to send it is an attempt. Parts point forward to their payout by a key that is checked at commit, and it is let in
-- only when they add up to its amount. After that it moves along its states, and nothing else in it changes.
create table payee (
    consumer   text    not null primary key references consumer (id),
    -- JSON: how it is paid and where to; none while nobody has said
    method     text,
    verified   integer not null check (verified in (0, 1)),
    tax_form   integer not null check (tax_form in (0, 1)),
    sanctioned integer not null check (sanctioned in (0, 1)),
    updated_at integer not null
) strict;

create table payout (
    id           text    not null primary key,
    consumer     text    not null references consumer (id),
    currency     text    not null,
    -- in the minor unit
    amount       integer not null check (amount > 0),
    -- JSON: what was on file when it was proposed, which is what is approved
    method       text    not null,
    -- the price book whose zone dates its entries
    book_version text    not null references book_version (id),
    state        text    not null
        check (state in ('proposed', 'approved', 'sent', 'paid', 'failed', 'cancelled')),
    created_at   integer not null,
    -- a key, or the command that proposed it
    created_by   text    not null,
    approved_at  integer,
    approved_by  text,
    ended_at     integer,
    ended_by     text,
    -- maker and checker
    check (approved_by <> created_by),
    check ((approved_at is null) = (approved_by is null)),
    check ((ended_at is null) = (ended_by is null)),
    check (approved_by is not null or state in ('proposed', 'cancelled')),
    check (approved_by is null or state <> 'proposed'),
    check ((ended_at is not null) = (state in ('paid', 'failed', 'cancelled')))
) strict;

create index payout_by_consumer on payout (consumer, id);

-- What it took: what statements grant under a program, negative ones too.
create table payout_part (
    payout      text    not null references payout (id) deferrable initially deferred,
    document    text    not null,
    program     text    not null,
    amount      integer not null,
    -- when its payout failed or was cancelled, so that another may take it
    released_at integer,
    primary key (payout, document, program),
    foreign key (document, program) references payout_hold (document, program)
) strict;

create unique index payout_part_is_taken_once on payout_part (document, program) where released_at is null;
create index payout_part_by_document on payout_part (document, payout);

-- Bank files, as they were given out.
create table payout_file (
    -- the id of the message to the bank
    id      text    not null primary key,
    made_at integer not null,
    body    text    not null
) strict;

create table payout_attempt (
    payout    text    not null references payout (id),
    -- 1, 2, 3
    n         integer not null check (n > 0),
    -- JSON: where this one sends it
    method    text    not null,
    state     text    not null check (state in ('ready', 'sent', 'paid', 'failed', 'cancelled')),
    -- the bank's, or whoever else carries it
    reference text,
    -- why it failed
    reason    text,
    at        integer not null,
    sent_at   integer,
    ended_at  integer,
    file      text    references payout_file (id),
    primary key (payout, n),
    check ((sent_at is not null) = (state in ('sent', 'paid', 'failed'))),
    check ((ended_at is not null) = (state in ('paid', 'failed', 'cancelled'))),
    check ((reason is not null) = (state = 'failed'))
) strict;

create unique index payout_attempt_one_at_a_time on payout_attempt (payout) where state in ('ready', 'sent');
create index payout_attempt_by_file on payout_attempt (file);

-- What a clawback takes back of what had left already, and is owed for.
create table clawback (
    document text    not null,
    program  text    not null,
    -- above zero, in the minor unit of the document's currency
    amount   integer not null check (amount > 0),
    primary key (document, program),
    foreign key (document, program) references payout_hold (document, program)
) strict;

-- What was kept back for it of what became available afterwards.
create table clawback_repaid (
    -- the key of the entry that made something available
    cause        text    not null primary key,
    consumer     text    not null references consumer (id),
    currency     text    not null,
    amount       integer not null check (amount > 0),
    -- accounting date, YYYY-MM-DD
    effective_on text    not null check (length(effective_on) = 10),
    at           integer not null
) strict;

create index clawback_repaid_by_consumer on clawback_repaid (consumer);

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
        and (payout_hold.passed_at is null or payout_hold.amount <> payout_part.amount
            or document.consumer <> new.consumer or document.currency <> new.currency));
end;

create trigger payout_only_moves_on before update on payout
when new.id <> old.id or new.consumer <> old.consumer or new.currency <> old.currency or new.amount <> old.amount
    or new.method <> old.method or new.book_version <> old.book_version
    or new.created_at <> old.created_at or new.created_by <> old.created_by
    or old.approved_at is not null and (new.approved_at is not old.approved_at or new.approved_by is not old.approved_by)
    or (old.approved_at is not new.approved_at) <> (new.state = 'approved' and old.state = 'proposed')
    or old.state || '>' || new.state not in (
        'proposed>approved', 'proposed>cancelled', 'approved>sent', 'approved>cancelled',
        'sent>paid', 'sent>failed', 'sent>approved')
begin select raise(abort, 'a payout does not move like this'); end;

create trigger payout_lets_go after update on payout when new.state in ('failed', 'cancelled')
begin update payout_part set released_at = new.ended_at where payout = new.id; end;

create trigger payout_part_joins_an_open_payout before insert on payout_part
when new.released_at is not null or exists (select 1 from payout where id = new.payout)
begin select raise(abort, 'the parts of this payout are final'); end;

create trigger payout_part_is_only_released before update on payout_part
when new.payout <> old.payout or new.document <> old.document or new.program <> old.program
    or new.amount <> old.amount or old.released_at is not null or not exists (
        select 1 from payout
        where id = new.payout and state in ('failed', 'cancelled') and ended_at = new.released_at)
begin select raise(abort, 'the parts of this payout are final'); end;

create trigger payout_attempt_follows_the_last before insert on payout_attempt
when new.state <> 'ready' or new.file is not null
    or new.n <> 1 + (select count(*) from payout_attempt where payout = new.payout and state = 'failed')
    or not exists (select 1 from payout where id = new.payout and state = 'approved' and method = new.method)
begin select raise(abort, 'an attempt does not begin like this'); end;

create trigger payout_attempt_only_moves_on before update on payout_attempt
when new.payout <> old.payout or new.n <> old.n or new.method <> old.method or new.at <> old.at
    or old.sent_at is not null and new.sent_at is not old.sent_at
    or old.file is not null and new.file is not old.file
    or new.file is not old.file and (old.state <> 'ready' or new.state <> 'ready')
    or new.state = 'cancelled' and old.file is not null
    or new.state = old.state and new.file is old.file
    or new.state <> old.state
        and old.state || '>' || new.state not in ('ready>sent', 'ready>cancelled', 'sent>paid', 'sent>failed')
begin select raise(abort, 'an attempt does not move like this'); end;

create trigger clawback_is_of_what_is_taken_back before insert on clawback
when not exists (
    select 1 from payout_hold
    where document = new.document and program = new.program and passed_at is not null and -amount >= new.amount)
begin select raise(abort, 'no more is owed than was taken back'); end;

create trigger clawback_is_repaid_once after insert on clawback_repaid
begin
    select raise(abort, 'no more is repaid than is owed')
    where (select coalesce(sum(amount), 0) from clawback_repaid
           where consumer = new.consumer and currency = new.currency)
        > (select coalesce(sum(clawback.amount), 0)
           from document join clawback on clawback.document = document.id
           where document.consumer = new.consumer and document.currency = new.currency);
end;

create trigger payout_is_never_deleted before delete on payout
begin select raise(abort, 'payouts are never deleted'); end;
create trigger payout_part_is_never_deleted before delete on payout_part
begin select raise(abort, 'payouts are never deleted'); end;
create trigger payout_attempt_is_never_deleted before delete on payout_attempt
begin select raise(abort, 'payouts are never deleted'); end;
create trigger payout_file_is_never_changed before update on payout_file
begin select raise(abort, 'what a bank was told is never changed'); end;
create trigger payout_file_is_never_deleted before delete on payout_file
begin select raise(abort, 'what a bank was told is never changed'); end;
create trigger clawback_is_never_changed before update on clawback
begin select raise(abort, 'clawbacks are never changed'); end;
create trigger clawback_is_never_deleted before delete on clawback
begin select raise(abort, 'clawbacks are never changed'); end;
create trigger clawback_repaid_is_never_changed before update on clawback_repaid
begin select raise(abort, 'clawbacks are never changed'); end;
create trigger clawback_repaid_is_never_deleted before delete on clawback_repaid
begin select raise(abort, 'clawbacks are never changed'); end;
