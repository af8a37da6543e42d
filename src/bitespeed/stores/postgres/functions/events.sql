-- A page of the events of every tenant after a position [transaction, number]: {"events": [...], "next":
-- position}, like the events of `scan`. It ends before the oldest transaction that is running, so that what
-- commits late is in a later page. wanted is {"after": position, "limit": number}.
create or replace function bitespeed.events(wanted jsonb)
returns json
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    page bitespeed.event[];
    last bitespeed.event;
begin
    perform set_config('bitespeed.tenant', '*', true);
    select array_agg(e order by e.xact, e.seq) into page
    from bitespeed.events_after(
        (wanted -> 'after' ->> 0)::xid8, (wanted -> 'after' ->> 1)::bigint,
        pg_snapshot_xmin(pg_current_snapshot()), false, (wanted ->> 'limit')::integer) as e;
    last := page[cardinality(page)];
    return json_build_object(
        'events', (
            select coalesce(json_agg(bitespeed.event_array(0, e) order by e.xact, e.seq), '[]')
            from unnest(page) as e),
        'next', case when last is null then (wanted -> 'after')::json else json_build_array(last.xact::text::bigint, last.seq) end);
end
$$;
