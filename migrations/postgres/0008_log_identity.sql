-- Tells this log from every other, so that no cache of another one is ever taken for one of it.
create table log_identity (
    id text collate "C" not null primary key
);

insert into log_identity (id) values (replace(gen_random_uuid()::text, '-', ''));
