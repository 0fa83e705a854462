-- Tells this log from every other, so that no cache of another one is ever taken for one of it.
create table log_identity (
    id text not null primary key
) strict;

insert into log_identity (id) values (lower(hex(randomblob(16))));
