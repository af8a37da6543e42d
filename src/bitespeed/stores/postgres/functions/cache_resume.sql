-- Begin an epoch in which the cache is used, unless somebody else was faster, or it is suspended for
-- longer, or has yet to be suspended in this incarnation of the database, so that all licences lapse. Returns the state that came of it.
create or replace function bitespeed.cache_resume(expected text, fresh text)
returns json
language plpgsql volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '4s'
as $$
begin
    -- Waits for the commits under way, which hold it too.
    perform pg_advisory_xact_lock(1651078245, 1);
    update bitespeed.cache c
    set epoch = cache_resume.fresh, is_suspended = false, since = clock_timestamp(),
        began_at = pg_snapshot_xmin(pg_current_snapshot()), incarnation = bitespeed.incarnation()
    where c.epoch is not distinct from cache_resume.expected
      and (c.epoch is null or (c.is_suspended and c.incarnation = bitespeed.incarnation()))
      and c.until <= clock_timestamp();
    return bitespeed.cache_state();
end
$$;
