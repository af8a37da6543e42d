-- A database of %(contacts)s contacts (a multiple of ten) as the service would have written it: the
-- very contacts of bench/fill.sql, which says what they are.

-- name: identities
insert into bitespeed.identity (id, tenant, root_id, primary_id, primary_at, contacts, version, relabelled_at)
select n, %(tenant)s, case when mod(n, 10) = 8 then n - 1 else n end, n, %(began)s + n * 1000,
       case when mod(n, 10) in (7, 9) then 2 else 1 end,
       case when mod(n, 10) in (7, 8, 9) then 2 else 1 end,
       case when mod(n, 10) = 8 then %(began)s + n * 1000 end
from generate_series(1::bigint, %(contacts)s) as n
where mod(n, 10) <> 0;

-- name: contacts
insert into bitespeed.contact_record (
    id, tenant, identity_id, email, phone, created_at, updated_at, is_published, number, at, version, primary_id)
select n, %(tenant)s, case when mod(n, 10) = 0 then n - 1 else n end,
       'c' || (%(first)s + n) || '@example.com', %(first)s + case when mod(n, 10) = 0 then n - 1 else n end,
       %(began)s + n * 1000, %(began)s + n * 1000,
       true, n / 10 * 11 + mod(n, 10) + case when mod(n, 10) = 9 then 1 else 0 end, %(began)s + n * 1000,
       case when mod(n, 10) = 0 then 2 else 1 end, case when mod(n, 10) = 0 then n - 1 end
from generate_series(1::bigint, %(contacts)s) as n;

-- name: emails
insert into bitespeed.identifier (tenant, kind, value, identity_id)
select %(tenant)s, 'email', 'c' || (%(first)s + n) || '@example.com',
       case when mod(n, 10) = 0 then n - 1 else n end
from generate_series(1::bigint, %(contacts)s) as n;

-- name: phones
insert into bitespeed.identifier (tenant, kind, value, identity_id)
select %(tenant)s, 'phone', %(first)s + n, n
from generate_series(1::bigint, %(contacts)s) as n
where mod(n, 10) <> 0;

-- name: events
-- Eleven for ten contacts: the 9th is the merge.
insert into bitespeed.event_record (
    seq, is_published, tenant, at, kind, identity_id, version, merged_id, primary_id,
    kind_of_value, value, kind_of_other, other, merged_primary_id, size, merged_size)
select n / 10 * 11 + 9, true, %(tenant)s, %(began)s + n * 1000, 'identities.merged', n - 1, 2, n, n - 1,
       'email', 'c' || (%(first)s + n - 1) || '@example.com', 'phone', (%(first)s + n)::text, n, 1, 1
from generate_series(8::bigint, %(contacts)s, 10) as n;

-- name: next_event
select setval('bitespeed.event_seq_seq', %(contacts)s / 10 * 11);

-- name: next_contact
select setval('bitespeed.contact_id', %(contacts)s);
