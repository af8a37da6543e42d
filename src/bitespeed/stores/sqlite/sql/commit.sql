-- The statements of a commit, executed under the write lock.

-- name: advance_identity
-- Compare and swap: updates no row if the identity has changed, or was merged, since it was read.
update identity
set primary_id = ?, primary_at = ?, contacts = ?, version = version + 1,
    stamp = random() & 9007199254740991
where id = ? and stamp = ? and root_id = id;

-- name: end_identity
-- Every row that has the merged identity as its root, the identity itself included.
update identity
set root_id = ?
where root_id = ?;

-- name: last_numbers
-- The id given out last, the highest one in use, and the instant of the newest event.
select coalesce((select seq from sqlite_sequence where name = 'contact_record'), 0),
       coalesce((select max(id) from contact_record), 0),
       coalesce((select at from event where seq = (select max(seq) from event)), 0);

-- name: insert_identity
insert into identity (id, tenant, root_id, primary_id, primary_at, contacts, version)
values (?, ?, ?, ?, ?, ?, 1);

-- name: insert_contact
insert into contact_record (
    id, tenant, identity_id, email, phone, raw_email, raw_phone, created_at, updated_at)
values (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_identifier
-- The unique key turns a race for a new value into a conflict.
insert into identifier (tenant, kind, value, identity_id)
values (?, ?, ?, ?);

-- name: delete_contact
update contact_record
set deleted_at = max(:now, created_at), updated_at = max(:now, created_at)
where id = :contact;

-- name: delete_identifier
delete from identifier
where tenant = ? and kind = ? and value = ?;

-- name: erase_secret
-- The first erasure creates it; it never changes.
insert into erasure_secret (is_only, secret)
values (1, ?)
on conflict do nothing;

-- name: secret
select secret
from erasure_secret;

-- name: erase_contacts
delete from contact_record
where identity_id in (select id from identity where root_id = ?);

-- name: erase_contact
delete from contact_record
where id = ?;

-- name: erase_events
delete from event
where identity_id in (select id from identity where root_id = ?);

-- name: erase_values_of_event
update event
set email = null, phone = null
where seq = ?;

-- name: erase_identities
-- Last, since the other statements need these rows.
delete from identity
where root_id = ?;

-- name: insert_tombstone
insert into tombstone (tenant, pseudonym, at, erasure)
values (?, ?, ?, ?)
on conflict do update set at = excluded.at, erasure = excluded.erasure;

-- name: insert_erasure_in_log
insert into erasure_in_log (erasure)
values (?);

-- name: insert_event
insert into event (tenant, at, kind, identity_id, version, contact_id, merged_id, email, phone)
values (?, ?, ?, ?, ?, ?, ?, ?, ?);
