-- Makes the pseudonyms by which logs speak of customers, the same in all processes on the file.
create table secret (
    secret text not null
) strict;

insert into secret (secret) values (lower(hex(randomblob(32))));
