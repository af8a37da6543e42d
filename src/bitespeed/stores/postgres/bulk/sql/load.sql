-- The statements of a load, in the order in which one transaction executes them.

-- name: lock_timeout
set local lock_timeout = '4s'

-- name: lock
-- In the order in which a commit locks the tables. Other transactions wait, then see what was loaded.
lock table bitespeed.identifier, bitespeed.contact_record, bitespeed.identity, bitespeed.event_record
in access exclusive mode

-- name: unforce
-- For each of the tables that have it: COPY is refused where row level security is in force. No other
-- transaction sees it off.
alter table {table} no force row level security

-- name: force
alter table {table} force row level security

-- name: is_empty
select not exists (select 1 from bitespeed.identity)
   and not exists (select 1 from bitespeed.contact_record)
   and not exists (select 1 from bitespeed.identifier)
   and not exists (select 1 from bitespeed.event_record)
   and not exists (select 1 from bitespeed.erasure_secret)

-- name: heads
copy bitespeed.identity (id, tenant, root_id, primary_id, primary_at, contacts, version, stamp, relabelled_at)
from stdin

-- name: contacts
copy bitespeed.contact_record (
    id, tenant, identity_id, email, phone, raw_email, raw_phone, created_at, updated_at, deleted_at,
    country, email_until, phone_until, anchor, number, at, version, primary_id, source, request, label)
from stdin

-- name: identifiers
copy bitespeed.identifier (tenant, kind, value, identity_id)
from stdin

-- name: events
copy bitespeed.event_record (
    seq, tenant, at, kind, identity_id, version, contact_id, merged_id, primary_id,
    kind_of_value, value, kind_of_other, other, raw_value, raw_other, country, value_until, other_until,
    source, request, label,
    merged_primary_id, size, merged_size)
from stdin

-- name: tombstones
copy bitespeed.tombstone (tenant, pseudonym, at, erasure)
from stdin

-- name: secrets
copy bitespeed.erasure_secret (secret)
from stdin

-- name: last_numbers
select bitespeed.continue_above('bitespeed.contact_id', c.last),
       bitespeed.continue_above('bitespeed.event_seq_seq', e.last)
from (select max(id) as last from bitespeed.contact_record) as c,
     (select max(seq) as last from bitespeed.event) as e
where c.last is not null

-- name: size
-- The number of ids given out. An estimate: few contacts are ever erased, and few ids skipped.
select (n.last_value - s.seqstart) / s.seqincrement + case when n.is_called then 1 else 0 end
from bitespeed.contact_id n
join pg_sequence s on s.seqrelid = 'bitespeed.contact_id'::regclass
