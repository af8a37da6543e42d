-- What an erasure leaves of an identifier: a keyed hash of it, and when that was.
create table tombstone (
    tenant    text    not null,
    pseudonym text    not null,
    at        integer not null,
    erasure   text    not null,
    primary key (tenant, pseudonym)
) strict, without rowid;

-- What the pseudonyms are made with. Not there before the first erasure; then one row.
create table erasure_secret (
    is_only integer primary key check (is_only = 1),
    secret  text    not null
) strict;

-- What is held about one person is found without walking through everybody's.
create index event_identity on event (identity_id);
create index contact_record_deleted_email on contact_record (tenant, email) where deleted_at is not null;
create index contact_record_deleted_phone on contact_record (tenant, phone) where deleted_at is not null;
