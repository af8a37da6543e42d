-- The statements of a load, in one transaction. `autoincrement` continues above the ids inserted here.

-- name: forget_number
delete from sqlite_sequence
where name = 'event_record';

-- name: last_number
insert into sqlite_sequence (name, seq)
select 'event_record', coalesce(max(seq), 0)
from event;

-- name: is_empty
select not exists (select 1 from identity)
   and not exists (select 1 from contact_record)
   and not exists (select 1 from identifier)
   and not exists (select 1 from event_record)
   and not exists (select 1 from erasure_secret);

-- name: heads
insert into identity (id, tenant, root_id, primary_id, primary_at, contacts, version, stamp, relabelled_at)
values (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: contacts
insert into contact_record (
    id, tenant, identity_id, email, phone, raw_email, raw_phone, created_at, updated_at, deleted_at,
    country, email_until, phone_until, anchor, number, at, version, primary_id, source, request, label)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: identifiers
insert into identifier (tenant, kind, value, identity_id)
values (?, ?, ?, ?);

-- name: events
insert into event_record (
    seq, tenant, at, kind, identity_id, version, contact_id, merged_id, primary_id,
    kind_of_value, value, kind_of_other, other, raw_value, raw_other, country, value_until, other_until, source, request, label,
    merged_primary_id, size, merged_size)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: tombstones
insert into tombstone (tenant, pseudonym, at, erasure)
values (?, ?, ?, ?);

-- name: secrets
insert into erasure_secret (is_only, secret)
values (1, ?);

-- name: size
-- An estimate: few contacts are ever erased.
select coalesce((select seq from sqlite_sequence where name = 'contact_record'), 0);
