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
insert into bitespeed.contact_record (id, tenant, identity_id, email, phone, created_at, updated_at)
select n, %(tenant)s, case when mod(n, 10) = 0 then n - 1 else n end,
       'c' || (%(first)s + n) || '@example.com', %(first)s + case when mod(n, 10) = 0 then n - 1 else n end,
       %(began)s + n * 1000, %(began)s + n * 1000
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
insert into bitespeed.event (
    is_published, tenant, at, kind, identity_id, version, contact_id, merged_id, primary_id,
    kind_of_value, value, kind_of_other, other, merged_primary_id, size, merged_size)
select true, %(tenant)s, %(began)s + n * 1000,
       case when nth = 9 then 'identities.merged' else 'contact.created' end,
       case when nth in (9, 11) then n - 1 else n end,
       case when nth in (9, 11) then 2 else 1 end,
       case when nth <> 9 then n end,
       case when nth = 9 then n end,
       case when nth in (9, 11) then n - 1 end,
       case when nth = 9 then 'email' end,
       case when nth = 9 then 'c' || (%(first)s + n - 1) || '@example.com' end,
       case when nth = 9 then 'phone' end,
       case when nth = 9 then (%(first)s + n)::text end,
       case when nth = 9 then n end,
       case when nth = 9 then 1 end,
       case when nth = 9 then 1 end
from generate_series(1::bigint, %(contacts)s / 10 * 11) as seq,
     lateral (select mod(seq - 1, 11) + 1 as nth) as in_its_eleven,
     lateral (select (seq - 1) / 11 * 10 + nth - case when nth >= 9 then 1 else 0 end as n) as event_number
order by seq;

-- name: next_contact
select setval('bitespeed.contact_id', %(contacts)s);
