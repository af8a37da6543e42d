-- The rows of a database, each table's in the order in which they were written.

-- name: births
-- Which contact brought each identifier in: the first one with its value.
create temp table birth as
select min(c.id) as contact, i.tenant, i.kind, i.value, i.identity_id
from contact_record c
cross join identifier i on i.tenant = c.tenant and i.kind = 'email' and i.value = c.email
group by i.tenant, i.value
union all
select min(c.id), i.tenant, i.kind, i.value, i.identity_id
from contact_record c
cross join identifier i on i.tenant = c.tenant and i.kind = 'phone' and i.value = c.phone
group by i.tenant, i.value;

-- name: count_identity
select count(*) from identity;

-- name: count_contact_record
select count(*) from contact_record;

-- name: count_identifier
select count(*) from identifier;

-- name: count_event
select count(*) from event;

-- name: select_identity
select id, tenant, root_id, primary_id, primary_at, contacts, version, stamp
from identity
order by id;

-- name: select_contact_record
select id, tenant, identity_id, email, phone, raw_email, raw_phone, created_at, updated_at, deleted_at
from contact_record
order by id;

-- name: select_identifier
select tenant, kind, value, identity_id
from birth
order by contact;

-- name: select_event
select seq, tenant, at, kind, identity_id, version, contact_id, merged_id, email, phone
from event
order by seq;

-- name: insert_identity
insert into identity (id, tenant, root_id, primary_id, primary_at, contacts, version, stamp)
values (?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_contact_record
insert into contact_record (
    id, tenant, identity_id, email, phone, raw_email, raw_phone, created_at, updated_at, deleted_at)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_identifier
insert into identifier (tenant, kind, value, identity_id)
values (?, ?, ?, ?);

-- name: insert_event
insert into event (seq, tenant, at, kind, identity_id, version, contact_id, merged_id, email, phone)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);
