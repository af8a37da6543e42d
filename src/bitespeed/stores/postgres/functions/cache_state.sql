-- {"epoch", "is_suspended", "is_over", "wait", "left", "secret"}: in seconds, the wait until commits are
-- admitted, and what is left until the cache may be used again; the secret makes its keys. The epoch is
-- over when another incarnation of the database has begun: suspend it.
create or replace function bitespeed.cache_state()
returns json
language plpgsql volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select json_build_object(
            'epoch', c.epoch, 'is_suspended', c.is_suspended,
            'is_over', c.epoch is not null and c.incarnation is distinct from bitespeed.incarnation(), 'secret', c.secret,
            'wait', case when c.is_suspended
                    then greatest(extract(epoch from c.since + interval '1.25 s' - clock_timestamp()), 0)
                    else 0 end,
            'left', greatest(extract(epoch from c.until - clock_timestamp()), 0))
        from bitespeed.cache c);
end
$$;
