-- Exports of the journal that were sealed: which entries each took, and the file as it was given. Of one kind every entry
-- is taken once, so nothing is ever imported twice. A batch is complete or it does not exist: its entries point forward
-- to it by a key that is checked at commit, and it is let in only when they are those that it names.
create table export_batch (
    id          text    not null primary key,
    -- what was exported, such as quickbooks.csv
    kind        text    not null,
    -- 1, 2, 3 within its kind
    number      integer not null,
    -- the last accounting date that it takes, YYYY-MM-DD
    through     text    not null check (length(through) = 10),
    -- numbers in the journal
    first_entry integer not null,
    last_entry  integer not null,
    entries     integer not null check (entries > 0),
    -- JSON: the debits of all entries, by currency
    totals      text    not null,
    -- of the chain, when the entries were read
    head        text    not null references journal_batch (head),
    -- SHA-256 of the file, in hex
    sha256      text    not null,
    -- zstd of the file
    file        blob    not null,
    sealed_at   integer not null,
    unique (kind, number)
) strict;

create table exported_entry (
    kind  text    not null,
    entry integer not null references journal_entry (seq),
    batch text    not null references export_batch (id) deferrable initially deferred,
    primary key (kind, entry)
) strict, without rowid;

create index exported_entry_by_batch on exported_entry (batch);

create trigger exported_entry_joins_an_open_batch before insert on exported_entry
when exists (select 1 from export_batch where id = new.batch)
begin select raise(abort, 'the export batch of this entry is sealed'); end;

create trigger export_batch_is_sound after insert on export_batch
begin
    select raise(abort, 'the number of the export batch is not the next one of its kind')
    where new.number <> (select count(*) from export_batch where kind = new.kind);

    select raise(abort, 'the entries of the export batch are not those that it names')
    where (select count(*) from exported_entry where batch = new.id and kind = new.kind) <> new.entries
    or (select count(*) from exported_entry where batch = new.id) <> new.entries
    or (select min(entry) from exported_entry where batch = new.id) <> new.first_entry
    or (select max(entry) from exported_entry where batch = new.id) <> new.last_entry;

    select raise(abort, 'an entry of the export batch is dated after it')
    where exists (
        select 1 from exported_entry join journal_entry on journal_entry.seq = exported_entry.entry
        where exported_entry.batch = new.id and journal_entry.effective_on > new.through);
end;

create trigger export_batch_is_never_changed before update on export_batch
begin select raise(abort, 'sealed exports are never changed'); end;
create trigger export_batch_is_never_deleted before delete on export_batch
begin select raise(abort, 'sealed exports are never changed'); end;
create trigger exported_entry_is_never_changed before update on exported_entry
begin select raise(abort, 'sealed exports are never changed'); end;
create trigger exported_entry_is_never_deleted before delete on exported_entry
begin select raise(abort, 'sealed exports are never changed'); end;
