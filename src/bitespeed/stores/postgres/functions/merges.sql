-- The merges of a tenant before a number and not before an instant, newest first: a list of what `happening`
-- makes of them. wanted is {"before": number, "since": instant, "limit": number}.
create or replace function bitespeed.merges(tenant text, wanted jsonb)
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
    perform set_config('bitespeed.tenant', merges.tenant, true);
    return (
        select coalesce(json_agg(bitespeed.happening(m.e, null) order by (m.e).seq desc), '[]')
        from (select row(e.*)::bitespeed.event as e
              from bitespeed.event_record e
              where e.tenant = merges.tenant and e.kind = 'identities.merged'
                and e.seq < (wanted ->> 'before')::bigint and e.at >= (wanted ->> 'since')::bigint
              order by e.seq desc
              limit (wanted ->> 'limit')::integer) as m);
end
$$;
