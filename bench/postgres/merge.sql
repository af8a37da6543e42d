-- A person of one contact, %(elder)s, and a younger one of %(contacts)s contacts, the ids after it:
-- each brought an email of its own to the phone of the first.

-- name: identities
insert into bitespeed.identity (id, tenant, root_id, primary_id, primary_at, contacts, version)
values (%(elder)s, %(tenant)s, %(elder)s, %(elder)s, %(began)s + %(elder)s, 1, 1),
       (%(elder)s + 1::bigint, %(tenant)s, %(elder)s + 1::bigint, %(elder)s + 1::bigint,
        %(began)s + %(elder)s + 1::bigint, %(contacts)s, %(contacts)s);

-- name: contacts
insert into bitespeed.contact_record (
    id, tenant, identity_id, email, phone, created_at, updated_at, is_published, number, at, version, primary_id)
select n, %(tenant)s, least(n, %(elder)s + 1::bigint), 'c' || (%(first)s + n) || '@example.com',
       %(first)s + least(n, %(elder)s + 1::bigint), %(began)s + n, %(began)s + n,
       true, nextval('bitespeed.event_seq_seq'), %(began)s + n, greatest(1, n - %(elder)s),
       case when n > %(elder)s + 1::bigint then %(elder)s + 1::bigint end
from generate_series(%(elder)s, %(elder)s + %(contacts)s::bigint) as n;

-- name: emails
insert into bitespeed.identifier (tenant, kind, value, identity_id)
select %(tenant)s, 'email', 'c' || (%(first)s + n) || '@example.com', least(n, %(elder)s + 1::bigint)
from generate_series(%(elder)s, %(elder)s + %(contacts)s::bigint) as n;

-- name: phones
insert into bitespeed.identifier (tenant, kind, value, identity_id)
select %(tenant)s, 'phone', %(first)s + n, n
from generate_series(%(elder)s, %(elder)s + 1::bigint) as n;

-- name: next_contact
select setval('bitespeed.contact_id', %(elder)s + %(contacts)s::bigint);
