-- The statements of a load, in their order, in one transaction.

-- name: patience
set local lock_timeout = '4s'

-- name: lock
-- In the order in which a commit comes to the tables. Everybody else waits, and then finds what was
-- loaded.
lock table bitespeed.identifier, bitespeed.contact_record, bitespeed.identity, bitespeed.event
in access exclusive mode

-- name: unforce
-- COPY is refused where row level security is in force; nobody else sees that it is not.
alter table bitespeed.identity no force row level security;
alter table bitespeed.contact_record no force row level security;
alter table bitespeed.identifier no force row level security;
alter table bitespeed.event no force row level security;
alter table bitespeed.tombstone no force row level security

-- name: force
alter table bitespeed.identity force row level security;
alter table bitespeed.contact_record force row level security;
alter table bitespeed.identifier force row level security;
alter table bitespeed.event force row level security;
alter table bitespeed.tombstone force row level security

-- name: is_empty
select not exists (select from bitespeed.identity)
   and not exists (select from bitespeed.contact_record)
   and not exists (select from bitespeed.identifier)
   and not exists (select from bitespeed.event)
   and not exists (select from bitespeed.erasure_secret)

-- name: heads
copy bitespeed.identity (id, tenant, root_id, primary_id, primary_at, contacts, version)
from stdin

-- name: contacts
copy bitespeed.contact_record (
    id, tenant, identity_id, email, phone, raw_email, raw_phone, created_at, updated_at, deleted_at)
from stdin

-- name: identifiers
copy bitespeed.identifier (tenant, kind, value, identity_id)
from stdin

-- name: events
copy bitespeed.event (
    seq, tenant, at, kind, identity_id, version, contact_id, merged_id, email, phone)
from stdin

-- name: tombstones
copy bitespeed.tombstone (tenant, pseudonym, at, erasure)
from stdin

-- name: secrets
copy bitespeed.erasure_secret (secret)
from stdin

-- name: last_numbers
-- Never backwards: a number given out before, if only to a commit that failed, is not given again.
select setval('bitespeed.contact_id', greatest(c.last, (select last_value from bitespeed.contact_id))),
       setval('bitespeed.event_seq_seq', greatest(e.last, (select last_value from bitespeed.event_seq_seq)))
from (select max(id) as last from bitespeed.contact_record) as c,
     (select max(seq) as last from bitespeed.event) as e
where c.last is not null

-- name: size
-- Few contacts are ever removed, so the last id tells how many there are; few are skipped.
select last_value from bitespeed.contact_id
