-- Exports of the journal that were sealed: which entries each took, and the file as it was given. Of one kind every entry
-- is taken once, so nothing is ever imported twice. A batch is complete or it does not exist: its entries point forward
-- to it by a key that is checked at commit, and it is let in only when they are those that it names.
create table export_batch (
    id          text collate "C" not null primary key,
    -- what was exported, such as quickbooks.csv
    kind        text collate "C" not null,
    -- 1, 2, 3 within its kind
    number      bigint           not null,
    -- the last accounting date that it takes, YYYY-MM-DD
    through     text collate "C" not null check (length(through) = 10),
    -- numbers in the journal
    first_entry bigint           not null,
    last_entry  bigint           not null,
    entries     bigint           not null check (entries > 0),
    -- JSON: the debits of all entries, by currency
    totals      text             not null,
    -- of the chain, when the entries were read
    head        text collate "C" not null references journal_batch (head),
    -- SHA-256 of the file, in hex
    sha256      text             not null,
    -- zstd of the file
    file        bytea            not null,
    sealed_at   bigint           not null,
    unique (kind, number)
);

create table exported_entry (
    kind        text collate "C" not null,
    entry       bigint           not null references journal_entry (seq),
    batch       text collate "C" not null references export_batch (id) deferrable initially deferred,
    primary key (kind, entry)
);

create index exported_entry_by_batch on exported_entry (batch);

create function exported_entry_joins_an_open_batch() returns trigger language plpgsql as $$
begin
    if exists (select 1 from added join export_batch on export_batch.id = added.batch) then
        raise exception 'the export batch of this entry is sealed' using errcode = '23514';
    end if;
    return null;
end $$;

create trigger exported_entry_joins_an_open_batch after insert on exported_entry
referencing new table as added
for each statement execute function exported_entry_joins_an_open_batch();

create function export_batch_is_sound() returns trigger language plpgsql as $$
begin
    if new.number <> (select count(*) from export_batch where kind = new.kind) then
        raise exception 'the number of the export batch is not the next one of its kind' using errcode = '23514';
    end if;

    if (select count(*) from exported_entry where batch = new.id and kind = new.kind) <> new.entries
    or (select count(*) from exported_entry where batch = new.id) <> new.entries
    or (select min(entry) from exported_entry where batch = new.id) <> new.first_entry
    or (select max(entry) from exported_entry where batch = new.id) <> new.last_entry
    then
        raise exception 'the entries of the export batch are not those that it names' using errcode = '23514';
    end if;

    if exists (
        select 1 from exported_entry join journal_entry on journal_entry.seq = exported_entry.entry
        where exported_entry.batch = new.id and journal_entry.effective_on > new.through)
    then
        raise exception 'an entry of the export batch is dated after it' using errcode = '23514';
    end if;
    return null;
end $$;

create trigger export_batch_is_sound after insert on export_batch
for each row execute function export_batch_is_sound();

create function sealed_exports_are_final() returns trigger language plpgsql as $$
begin raise exception 'sealed exports are never changed' using errcode = '23514'; end $$;

create trigger export_batch_is_never_changed before update or delete on export_batch
for each row execute function sealed_exports_are_final();
create trigger export_batch_is_never_emptied before truncate on export_batch
for each statement execute function sealed_exports_are_final();
create trigger exported_entry_is_never_changed before update or delete on exported_entry
for each row execute function sealed_exports_are_final();
create trigger exported_entry_is_never_emptied before truncate on exported_entry
for each statement execute function sealed_exports_are_final();
