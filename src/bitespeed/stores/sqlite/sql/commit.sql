-- The statements of a commit, executed under the write lock.

-- name: advance_identity
-- Compare and swap: updates no row if the identity has changed, or was merged, since it was read.
update identity
set relabelled_at = iif(primary_id is :primary and :root = id, relabelled_at, :now),
    primary_id = :primary, primary_at = :primary_at, contacts = :contacts, version = version + 1,
    stamp = random() & 9007199254740991
where id = :id and stamp = :stamp and root_id = id;

-- name: end_identity
-- Every row that has the merged identity as its root, the identity itself included.
update identity
set root_id = :root, relabelled_at = :now
where root_id = :id;

-- name: last_numbers
-- The id given out last, the highest one in use, the highest number given out or in use, and the instant
-- of the newest event.
select coalesce((select seq from sqlite_sequence where name = 'contact_record'), 0),
       coalesce((select max(id) from contact_record), 0),
       max(coalesce((select seq from sqlite_sequence where name = 'event_record'), 0),
           coalesce((select max(number) from contact_record where number is not null), 0),
           coalesce((select max(seq) from event_record), 0)),
       max(coalesce((select at from contact_record where number = (
                         select max(number) from contact_record where number is not null)), 0),
           coalesce((select at from event_record where seq = (select max(seq) from event_record)), 0));

-- name: begin_numbers
-- Contacts get numbers without a row in the table, so `autoincrement` alone would not do.
insert into sqlite_sequence (name, seq)
values ('event_record', ?);

-- name: continue_numbers
update sqlite_sequence
set seq = ?
where name = 'event_record';

-- name: insert_identity
insert into identity (id, tenant, root_id, primary_id, primary_at, contacts, version)
values (?, ?, ?, ?, ?, ?, 1);

-- name: insert_contact
insert into contact_record (
    id, tenant, identity_id, email, phone, raw_email, raw_phone, created_at, updated_at,
    country, anchor, number, at, version, primary_id, source, request, label)
values (
    ?, ?, ?, nullif(?, ''), nullif(?, ''), nullif(?, ''), nullif(?, ''), ?, ?, nullif(?, ''), nullif(?, ''),
    ?, ?, ?, nullif(?, 0), nullif(?, ''), nullif(?, ''), nullif(?, ''));

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
delete from event_record
where identity_id in (select id from identity where root_id = ?);

-- name: erase_values_of_event
update event_record
set kind_of_value = null, value = null, kind_of_other = null, other = null,
    raw_value = null, raw_other = null, country = null, request = null, label = null
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
insert into event_record (
    seq, tenant, at, kind, identity_id, version, contact_id, merged_id, primary_id, source, request, label)
values (?, ?, ?, ?, ?, ?, nullif(?, 0), nullif(?, 0), nullif(?, 0), nullif(?, ''), nullif(?, ''), nullif(?, ''));

-- name: insert_event_with_pair
insert into event_record (
    seq, tenant, at, kind, identity_id, version, contact_id, merged_id, primary_id, source, request, label,
    merged_primary_id, size, merged_size,
    kind_of_value, value, kind_of_other, other, raw_value, raw_other, country)
values (
    ?, ?, ?, ?, ?, ?, nullif(?, 0), nullif(?, 0), nullif(?, 0), nullif(?, ''), nullif(?, ''), nullif(?, ''),
    ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: end_email_of_contacts
-- Of deleted contacts, since no live one has the value.
update contact_record
set email_until = :number
where tenant = :tenant and email = :value and deleted_at is not null and email_until is null;

-- name: end_phone_of_contacts
update contact_record
set phone_until = :number
where tenant = :tenant and phone = :value and deleted_at is not null and phone_until is null;

-- name: end_value_of_pairs
update event_record
set value_until = :number
where tenant = :tenant and kind_of_value = :kind and value = :value and value_until is null;

-- name: end_other_of_pairs
update event_record
set other_until = :number
where tenant = :tenant and kind_of_other = :kind and other = :value and other_until is null;
