-- The statements of a load, in their order, in one transaction.

-- name: patience
set local lock_timeout = '4s'

-- name: lock
-- In the order in which a commit comes to the tables. Others may read meanwhile; whoever would
-- write waits, and then finds what was loaded.
lock table bitespeed.identifier, bitespeed.contact_record, bitespeed.identity, bitespeed.event
in share row exclusive mode

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
copy bitespeed.tombstone (tenant, reference, at, erasure)
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
