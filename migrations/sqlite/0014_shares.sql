-- Who got a part of what a closing charged, as it was then.
create table sharer (
    closing      integer not null references closing (seq),
    book_version text    not null,
    until        integer not null,
    plan         text    not null,
    charge       text    not null,
    dimension    text    not null,
    producer     text    not null,
    subscription text    not null references subscription (id),
    component    text    not null,
    program      text    not null,
    rate         text    not null,
    primary key (closing, book_version, until, plan, charge, dimension, producer)
) strict, without rowid;

-- What producers get of what others were charged, or give back.
create table share (
    closing     integer not null references closing (seq),
    charged     text    not null references subscription (id),
    period_from integer not null,
    period_to   integer not null,
    charge      text    not null,
    producer    text    not null references subscription (id),
    component   text    not null,
    program     text    not null,
    rate        text    not null,
    currency    text    not null,
    base        integer not null,
    amount      integer not null,
    -- the closing whose payout statement has it
    taken_in    integer references closing (seq),
    primary key (closing, charged, period_from, charge, producer, component)
) strict, without rowid;

create index share_by_charged on share (charged, period_from);
create index share_waiting on share (producer) where taken_in is null;
create index share_by_taken on share (taken_in, producer);
