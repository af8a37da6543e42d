-- A stream of rows for each of `bitespeed.model.records.PARTS`, ordered by the root of their identity. The
-- root is 0 for rows without an identity.

-- name: heads
select root_id, id, tenant, root_id, primary_id, primary_at, contacts, version, stamp, relabelled_at
from identity
order by root_id, id;

-- name: contacts
select coalesce(born.root_id, 0) as root, c.id, c.tenant, c.identity_id, c.email, c.phone,
       c.raw_email, c.raw_phone, c.created_at, c.updated_at, c.deleted_at,
       c.country, c.email_until, c.phone_until, c.anchor
from contact_record c
left join identity born on born.id = c.identity_id
order by root, c.created_at, c.id;

-- name: identifiers
select coalesce(born.root_id, 0) as root, i.tenant, i.kind, i.value, i.identity_id
from identifier i
left join identity born on born.id = i.identity_id
order by root;

-- name: events
select coalesce(named.root_id, 0) as root, e.*
from event e
left join identity named on named.id = e.identity_id
order by root, e.seq;

-- name: tombstones
select 0, tenant, pseudonym, at, erasure
from tombstone
order by tenant, pseudonym;

-- name: secrets
select 0, secret
from erasure_secret;
