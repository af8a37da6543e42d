-- Append events [kind, identity, version, contact, merged, email, phone] in their order; `ids` are those
-- of the new contacts. A part of `commit`, whose writer publishes them to the cache itself.
create or replace function bitespeed.add_events(tenant text, events jsonb, ids bigint[], at bigint)
returns void
language plpgsql volatile
as $$
begin
    insert into bitespeed.event (
        is_published, tenant, at, kind, identity_id, version, contact_id, merged_id, email, phone)
    select true, add_events.tenant, add_events.at, e ->> 0,
           case when (e ->> 1)::bigint < 0 then ids[-(e ->> 1)::bigint] else (e ->> 1)::bigint end, (e ->> 2)::integer,
           case when (e ->> 3)::bigint < 0 then ids[-(e ->> 3)::bigint] else (e ->> 3)::bigint end,
           case when (e ->> 4)::bigint < 0 then ids[-(e ->> 4)::bigint] else (e ->> 4)::bigint end,
           e ->> 5, e ->> 6
    from jsonb_array_elements(events) with ordinality as n (e, place)
    order by place;
end
$$;
