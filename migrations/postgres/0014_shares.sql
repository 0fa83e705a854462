-- Who got a part of what a closing charged, as it was then.
create table sharer (
    closing      bigint not null references closing (seq),
    book_version text collate "C" not null,
    until        bigint not null,
    plan         text collate "C" not null,
    charge       text collate "C" not null,
    dimension    text collate "C" not null,
    producer     text collate "C" not null,
    subscription text collate "C" not null references subscription (id),
    component    text collate "C" not null,
    program      text collate "C" not null,
    rate         numeric    not null,
    primary key (closing, book_version, until, plan, charge, dimension, producer)
);

-- What producers get of what others were charged, or give back.
create table share (
    closing     bigint not null references closing (seq),
    charged     text collate "C" not null references subscription (id),
    period_from bigint not null,
    period_to   bigint not null,
    charge      text collate "C" not null,
    producer    text collate "C" not null references subscription (id),
    component   text collate "C" not null,
    program     text collate "C" not null,
    rate        numeric    not null,
    currency    text collate "C" not null,
    base        bigint not null,
    amount      bigint not null,
    -- the closing whose payout statement has it
    taken_in    bigint references closing (seq),
    primary key (closing, charged, period_from, charge, producer, component)
);

create index share_by_charged on share (charged, period_from);
create index share_waiting on share (producer) where taken_in is null;
create index share_by_taken on share (taken_in, producer);
