-- Where Supabase's roles exist, the one behind the secret key may call the functions, and nobody
-- else may: neither `anon` nor `authenticated` is granted anything, not even the schema.
do $$
begin
    if exists (select from pg_roles where rolname = 'service_role') then
        grant usage on schema bitespeed to service_role;
        grant execute on function bitespeed.read, bitespeed.commit, bitespeed.scan,
            bitespeed.cache_state, bitespeed.cache_resume, bitespeed.cache_suspend, bitespeed.cache_feed
            to service_role;
    end if;
end
$$;
