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

-- name: forget_number
delete from sqlite_sequence
where name = 'event_record';

-- name: last_number
insert into sqlite_sequence (name, seq)
select 'event_record', coalesce(max(seq), 0)
from event;

-- name: identity
select *
from identity
order by id;

-- name: contact_record
select *
from contact_record
order by id;

-- name: identifier
select tenant, kind, value, identity_id
from birth
order by contact;

-- name: event_record
select *
from event_record
order by seq;
