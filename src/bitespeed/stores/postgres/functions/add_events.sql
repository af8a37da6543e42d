-- Append events [kind, identity, version, contact, merged, primary, pair, source, request, label,
-- merged primary, sizes] in their order, by which facts are numbered; `ids` are those of the new
-- contacts. A pair is [kind, value, other kind, other value, raw value, raw other, country] or null. A
-- part of `commit`, whose writer publishes them to the cache itself.
create or replace function bitespeed.add_events(tenant text, events jsonb, ids bigint[], at bigint)
returns void
language plpgsql volatile
as $$
begin
    insert into bitespeed.event (
        is_published, tenant, at, kind, identity_id, version, contact_id, merged_id, primary_id, source, request, label,
        kind_of_value, value, kind_of_other, other, raw_value, raw_other, country, merged_primary_id, size, merged_size)
    select true, add_events.tenant, add_events.at, e ->> 0,
           case when (e ->> 1)::bigint < 0 then ids[-(e ->> 1)::bigint] else (e ->> 1)::bigint end, (e ->> 2)::integer,
           case when (e ->> 3)::bigint < 0 then ids[-(e ->> 3)::bigint] else (e ->> 3)::bigint end,
           case when (e ->> 4)::bigint < 0 then ids[-(e ->> 4)::bigint] else (e ->> 4)::bigint end,
           case when (e ->> 5)::bigint < 0 then ids[-(e ->> 5)::bigint] else (e ->> 5)::bigint end,
           e ->> 7, e ->> 8, e ->> 9,
           e -> 6 ->> 0, e -> 6 ->> 1, e -> 6 ->> 2, e -> 6 ->> 3, e -> 6 ->> 4, e -> 6 ->> 5, e -> 6 ->> 6,
           case when (e ->> 10)::bigint < 0 then ids[-(e ->> 10)::bigint] else (e ->> 10)::bigint end,
           (e -> 11 ->> 0)::integer, (e -> 11 ->> 1)::integer
    from jsonb_array_elements(events) with ordinality as n (e, place)
    order by place;
end
$$;
