-- Write the new contacts of the changes at an instant, with these ids and ages, their new values, and the
-- identities that begin with one of them; a part of `commit`. Raises SQLSTATE 23505 when a value has been
-- taken.
create or replace function bitespeed.add_contacts(
    tenant text, changes jsonb, ids bigint[], ages bigint[], at bigint)
returns void
language plpgsql volatile
as $$
declare
    contacts jsonb := changes -> 'contacts';
begin
    -- In the order of the key, so that commits cannot wait for each other in a ring. Not `on conflict
    -- do nothing`, which looks each key up once more and logs each row twice.
    begin
        insert into bitespeed.identifier (tenant, kind, value, identity_id)
        select add_contacts.tenant, v.kind, v.value, case when v.identity < 0 then ids[-v.identity] else v.identity end
        from (select 'email' as kind, c ->> 1 as value, (c ->> 0)::bigint as identity
              from jsonb_array_elements(contacts) as n (c)
              where (c -> 5)::boolean
              union all
              select 'phone', c ->> 2, (c ->> 0)::bigint
              from jsonb_array_elements(contacts) as n (c)
              where (c -> 6)::boolean) as v
        order by v.value collate "C", v.kind collate "C";
    exception when unique_violation then
        -- The database's own error would quote the value.
        raise unique_violation using message = 'a new value has been taken since it was read';
    end;

    insert into bitespeed.contact_record (
        id, tenant, identity_id, email, phone, raw_email, raw_phone, created_at, updated_at, country, anchor)
    select ids[place], add_contacts.tenant,
           case when (c ->> 0)::bigint < 0 then ids[-(c ->> 0)::bigint] else (c ->> 0)::bigint end,
           c ->> 1, c ->> 2, c ->> 3, c ->> 4, ages[place], greatest(ages[place], add_contacts.at), c ->> 8,
           case when c ->> 1 is not null and not (c -> 5)::boolean then 'phone' end
    from jsonb_array_elements(contacts) with ordinality as n (c, place);

    insert into bitespeed.identity (id, tenant, root_id, primary_id, primary_at, contacts, version)
    select ids[-(c ->> 0)::bigint], add_contacts.tenant,
           case when (c ->> 1)::bigint < 0 then ids[-(c ->> 1)::bigint] else (c ->> 1)::bigint end,
           ids[-(c ->> 2)::bigint], ages[-(c ->> 2)::bigint], (c ->> 4)::integer, 1
    from jsonb_array_elements(changes -> 'identities') as i (c)
    where (c ->> 0)::bigint < 0;
end
$$;
