-- What an erasure leaves of an identifier: a keyed hash of it, and when that was.
create table bitespeed.tombstone (
    tenant    text   not null collate "C",
    pseudonym text   not null collate "C",
    at        bigint not null,
    erasure   text   not null collate "C",
    primary key (tenant, pseudonym)
);

-- What the pseudonyms are made with. Not there before the first erasure; then one row.
create table bitespeed.erasure_secret (
    is_only boolean primary key default true check (is_only),
    secret  text    not null
);

alter table bitespeed.tombstone enable row level security;
alter table bitespeed.erasure_secret enable row level security;

-- What is held about one person is found without walking through everybody's.
create index event_identity on bitespeed.event (identity_id);
create index contact_record_deleted_email on bitespeed.contact_record (tenant, email) where deleted_at is not null;
create index contact_record_deleted_phone on bitespeed.contact_record (tenant, phone) where deleted_at is not null;
