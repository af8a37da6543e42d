-- All records of some identities, in one transaction: first their roots, then four streams of rows, each
-- ordered by the root. `cross join` makes the planner use the keys.

-- name: roots
-- Of the identities that have a value, a deleted contact with a value, or the contact.
select born.root_id
from json_each(:values) wanted
cross join identifier i on i.tenant = :tenant and i.kind in ('email', 'phone') and i.value = wanted.value
cross join identity born on born.id = i.identity_id
union
select born.root_id
from json_each(:values) wanted
cross join contact_record c on c.tenant = :tenant and c.email = wanted.value and c.deleted_at is not null
cross join identity born on born.id = c.identity_id
union
select born.root_id
from json_each(:values) wanted
cross join contact_record c on c.tenant = :tenant and c.phone = wanted.value and c.deleted_at is not null
cross join identity born on born.id = c.identity_id
union
select born.root_id
from contact_record c
cross join identity born on born.id = c.identity_id
where c.id = :contact and c.tenant = :tenant;

-- name: heads
select i.root_id as root, i.id, i.tenant, i.root_id, i.primary_id, i.primary_at, i.contacts, i.version, i.stamp, i.relabelled_at
from json_each(:roots) wanted
cross join identity i on i.root_id = wanted.value
order by root, i.id;

-- name: contacts
select born.root_id as root, c.id, c.tenant, c.identity_id, c.email, c.phone,
       c.raw_email, c.raw_phone, c.created_at, c.updated_at, c.deleted_at,
       c.country, c.email_until, c.phone_until, c.anchor
from json_each(:roots) wanted
cross join identity born on born.root_id = wanted.value
cross join contact_record c on c.identity_id = born.id
order by root, c.created_at, c.id;

-- name: identifiers
-- Found by the live contacts that carry them.
select born.root_id as root, i.tenant, i.kind, i.value, i.identity_id
from json_each(:roots) wanted
cross join identity born on born.root_id = wanted.value
cross join contact_record c on c.identity_id = born.id and c.deleted_at is null
cross join identifier i on i.tenant = c.tenant and i.kind = 'email' and i.value = c.email
union
select born.root_id, i.tenant, i.kind, i.value, i.identity_id
from json_each(:roots) wanted
cross join identity born on born.root_id = wanted.value
cross join contact_record c on c.identity_id = born.id and c.deleted_at is null
cross join identifier i on i.tenant = c.tenant and i.kind = 'phone' and i.value = c.phone
order by root;

-- name: events
select born.root_id as root, e.*
from json_each(:roots) wanted
cross join identity born on born.root_id = wanted.value
cross join creation e on e.identity_id = born.id
union all
select born.root_id, e.*
from json_each(:roots) wanted
cross join identity born on born.root_id = wanted.value
cross join event_record e on e.identity_id = born.id
order by root, seq;

-- name: secret
select secret
from erasure_secret;

-- name: tombstones
select t.pseudonym, t.at
from json_each(:pseudonyms) wanted
cross join tombstone t on t.tenant = :tenant and t.pseudonym = wanted.value;
