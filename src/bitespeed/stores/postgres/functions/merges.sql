-- The merges of a tenant before a number and not before an instant, newest first: a list of arrays of the
-- fields of the Python struct `Happening`. wanted is {"before": number, "since": instant, "limit": number}.
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
        select coalesce(json_agg(json_build_array(
                   m.seq, m.at, m.kind, m.identity_id, m.contact_id, m.merged_id, m.primary_id, m.kind_of_value,
                   m.value, m.kind_of_other, m.other, m.source, m.label, m.merged_primary_id, m.size, m.merged_size)
                   order by m.seq desc), '[]')
        from (select e.*
              from bitespeed.event e
              where e.tenant = merges.tenant and e.kind = 'identities.merged'
                and e.seq < (wanted ->> 'before')::bigint and e.at >= (wanted ->> 'since')::bigint
              order by e.seq desc
              limit (wanted ->> 'limit')::integer) as m);
end
$$;
