-- The events of a contact's identity behind a number, in order: a list of what `happening` makes of them.
-- wanted is {"contact": id, "after": number, "limit": number}.
create or replace function bitespeed.history(tenant text, wanted jsonb)
returns json
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    perform set_config('bitespeed.tenant', history.tenant, true);
    return (
        select coalesce(json_agg(bitespeed.happening(h.e, shown.n) order by (h.e).seq), '[]')
        from (select of_family.e
              from bitespeed.contact_record c,
                   lateral (select i.root_id from bitespeed.identity i
                            where i.id = c.identity_id and i.tenant = c.tenant offset 0) as born,
                   lateral (select f.id from bitespeed.family(history.tenant, born.root_id) as f (id) offset 0) as family,
                   lateral (select e::bitespeed.event as e
                            from bitespeed.events_in(history.tenant, family.id) as e offset 0) as of_family
              where c.id = (wanted ->> 'contact')::bigint and c.tenant = history.tenant
                and (of_family.e).seq > (wanted ->> 'after')::bigint
              order by (of_family.e).seq
              limit (wanted ->> 'limit')::integer) as h
        left join lateral (
            select n from bitespeed.contact_record n
            where n.id = (h.e).contact_id and n.tenant = history.tenant
              and (h.e).kind in ('contact.created', 'contact.adopted')
            offset 0) as shown on true);
end
$$;
