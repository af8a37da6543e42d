-- Append events [kind, identity, version, contact, merged, primary, pair, source, request, label, merged
-- primary, sizes] with their numbers, but for those of new contacts, see `add_contacts`; `ids` are the ids of
-- these. A pair is [kind, value, other kind, other value, raw value, raw other, country] or null. A part of
-- `commit`, whose writer publishes them to the cache itself.
create or replace function bitespeed.add_events(tenant text, events jsonb, numbers bigint[], ids bigint[], at bigint)
returns void
language plpgsql volatile
as $$
begin
    insert into bitespeed.event_record (
        seq, is_published, tenant, at, kind, identity_id, version, contact_id, merged_id, primary_id, source, request, label,
        kind_of_value, value, kind_of_other, other, raw_value, raw_other, country, merged_primary_id, size, merged_size)
    select numbers[n.place], true, add_events.tenant, add_events.at, n.kind, case when n.identity < 0 then ids[-n.identity] else n.identity end,
           n.version, case when n.contact < 0 then ids[-n.contact] else n.contact end,
           case when n.merged < 0 then ids[-n.merged] else n.merged end,
           case when n.primary_ < 0 then ids[-n.primary_] else n.primary_ end, n.source, n.request, n.label,
           n.pair ->> 0, n.pair ->> 1, n.pair ->> 2, n.pair ->> 3, n.pair ->> 4, n.pair ->> 5, n.pair ->> 6,
           case when n.merged_primary < 0 then ids[-n.merged_primary] else n.merged_primary end,
           (n.sizes ->> 0)::integer, (n.sizes ->> 1)::integer
    from (select e ->> 0 as kind, (e ->> 1)::bigint as identity, (e ->> 2)::integer as version, (e ->> 3)::bigint as contact,
                 (e ->> 4)::bigint as merged, (e ->> 5)::bigint as primary_, nullif(e -> 6, 'null') as pair,
                 e ->> 7 as source, e ->> 8 as request, e ->> 9 as label, (e ->> 10)::bigint as merged_primary,
                 nullif(e -> 11, 'null') as sizes, place
          from jsonb_array_elements(events) with ordinality as a (e, place)
          where e ->> 0 <> 'contact.created'
          offset 0) as n
    order by n.place;
end
$$;
