-- What has changed without `commit` since an earlier call, and the state of the cache, see
-- `cache_state`: {"next": text, "values": [[tenant, value]], "state": {...}}. `since` is the `next` of
-- the call before; null: the beginning of the epoch. `next` is the oldest transaction that was running,
-- so what commits late comes late, and some of it more than once; `events` would keep changes back while
-- somebody's transaction runs. The values are null when they are not to be known: there were more than
-- `max_events` events, or one after which a value is gone. An event of any other kind, known or not, is
-- about the values that its identity has.
create or replace function bitespeed.cache_feed(since text, max_events integer)
returns json
language plpgsql volatile
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    oldest  xid8 := pg_snapshot_xmin(pg_current_snapshot());
    changed bigint[];
    is_known boolean;
begin
    perform set_config('bitespeed.tenant', '*', true);
    select array_agg(e.identity_id),
           count(*) <= max_events and coalesce(bool_and(e.kind <> all (array['contact.erased', 'identity.erased'])), true)
    into changed, is_known
    -- Transactions yet to come are those of another server, which the database was restored from.
    from bitespeed.events_after(
        coalesce(cache_feed.since::xid8, (select c.began_at from bitespeed.cache c)), 0,
        pg_snapshot_xmax(pg_current_snapshot()), true, max_events + 1) as e;
    return json_build_object('next', oldest::text, 'state', bitespeed.cache_state(), 'values', (
        select coalesce(json_agg(json_build_array(v.tenant, v.value)), '[]')
        from (select distinct c.tenant, x.value
              from unnest(changed) as e (id),
                   lateral (select i.root_id, i.tenant from bitespeed.identity i where i.id = e.id offset 0) as named,
                   lateral (select f.id from bitespeed.family(named.tenant, named.root_id) as f (id) offset 0) as born,
                   lateral (select m.tenant, m.email, m.phone
                            from bitespeed.born_in(named.tenant, born.id) as m offset 0) as c,
                   lateral (values (c.email), (c.phone)) as x (value)
              where x.value is not null) as v
        having is_known));
end
$$;
