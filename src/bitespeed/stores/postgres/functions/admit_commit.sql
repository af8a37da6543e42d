-- Whether a commit decided in this epoch of the cache may be written: the epoch goes on, and began in
-- this incarnation of the database; a part of `commit`.
--
-- The lock is held to the end of the transaction, so an epoch ends only when all of its commits have.
create or replace function bitespeed.admit_commit(epoch text)
returns boolean
language plpgsql volatile
as $$
declare
    cache bitespeed.cache;
begin
    perform pg_advisory_xact_lock_shared(1651078245, 1);
    if current_setting('transaction_isolation') <> 'read committed' then
        perform 1 from bitespeed.cache c for share;  -- fails if the epoch has changed during the wait
    end if;
    select * into cache from bitespeed.cache c;
    return cache.epoch is not distinct from admit_commit.epoch
        and (cache.epoch is null or cache.incarnation is not distinct from bitespeed.incarnation())
        and not (cache.is_suspended and clock_timestamp() < cache.since + interval '1.25 s');
end
$$;
