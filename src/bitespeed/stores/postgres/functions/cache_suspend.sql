-- Begin an epoch in which nobody uses the cache, for so many seconds at least, or extend it. Nothing
-- happens when the epoch is not the one expected. Returns the state that came of it.
create or replace function bitespeed.cache_suspend(expected text, fresh text, seconds double precision)
returns json
language plpgsql volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '4s'
as $$
declare
    present text := bitespeed.incarnation();
    goes_on boolean;
begin
    perform pg_advisory_xact_lock(1651078245, 1);
    -- A suspension of an earlier incarnation is another one, and its instants are another clock's.
    select c.is_suspended and c.incarnation = present into goes_on from bitespeed.cache c;
    update bitespeed.cache c
    set epoch = case when goes_on then c.epoch else cache_suspend.fresh end,
        since = case when goes_on then c.since else clock_timestamp() end,
        is_suspended = true,
        until = greatest(case when goes_on then c.until end,
                         clock_timestamp() + make_interval(secs => cache_suspend.seconds)),
        incarnation = present
    where c.epoch = cache_suspend.expected;
    return bitespeed.cache_state();
end
$$;
