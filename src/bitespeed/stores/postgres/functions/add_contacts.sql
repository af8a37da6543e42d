-- Write the new contacts of the changes at an instant, with these ids and ages and each with the event of its
-- creation, and the identities that begin with one of them; `numbers` are those of all events of the changes.
-- A part of `commit`, whose writer publishes them to the cache itself. Contacts are [identity, email, phone, raw
-- email, raw phone, new email, new phone, not before, country, created at], identities [id, root, primary,
-- primary at, contacts, stamp]; for events see `add_events`.
create or replace function bitespeed.add_contacts(
    tenant text, changes jsonb, numbers bigint[], ids bigint[], ages bigint[], at bigint)
returns void
language plpgsql volatile
as $$
declare
    contacts jsonb := changes -> 'contacts';
    written  bigint;
begin
    insert into bitespeed.contact_record (
        id, tenant, identity_id, email, phone, raw_email, raw_phone, created_at, updated_at, country, anchor,
        number, is_published, at, version, primary_id, source, request, label)
    select ids[n.contact], add_contacts.tenant, case when n.identity < 0 then ids[-n.identity] else n.identity end,
           c ->> 1, c ->> 2, c ->> 3, c ->> 4, ages[n.contact], greatest(ages[n.contact], add_contacts.at), c ->> 8,
           case when c ->> 1 is not null and not (c -> 5)::boolean then 'phone' end,
           numbers[n.place], true, add_contacts.at, (e ->> 2)::integer,
           case when n.primary_ < 0 then ids[-n.primary_] else n.primary_ end, e ->> 7, e ->> 8, e ->> 9
    from (select contacts -> (-1 - (e ->> 3)::integer) as c, -(e ->> 3)::integer as contact,
                 (e ->> 1)::bigint as identity, (e ->> 5)::bigint as primary_, e, place
          from jsonb_array_elements(changes -> 'events') with ordinality as a (e, place)
          where e ->> 0 = 'contact.created'
          offset 0) as n;
    get diagnostics written = row_count;
    assert written = cardinality(ids), 'a new contact comes with the event that created it';

    insert into bitespeed.identity (id, tenant, root_id, primary_id, primary_at, contacts, version)
    select ids[-(c ->> 0)::bigint], add_contacts.tenant,
           case when (c ->> 1)::bigint < 0 then ids[-(c ->> 1)::bigint] else (c ->> 1)::bigint end,
           ids[-(c ->> 2)::bigint], ages[-(c ->> 2)::bigint], (c ->> 4)::integer, 1
    from jsonb_array_elements(changes -> 'identities') as i (c)
    where (c ->> 0)::bigint < 0;
end
$$;
