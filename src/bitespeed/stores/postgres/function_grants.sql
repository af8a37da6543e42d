-- name: from_public
revoke execute on all functions in schema bitespeed from public

-- name: to_service_role
-- Where Supabase's roles exist, the one behind the secret key may call the functions of the service, and
-- nobody else may: neither `anon` nor `authenticated` is granted anything, not even the schema.
do $$
begin
    if exists (select 1 from pg_roles r where r.rolname = 'service_role') then
        grant usage on schema bitespeed to service_role;
        grant execute on function bitespeed.read, bitespeed.commit, bitespeed.scan, bitespeed.records,
            bitespeed.tombstones, bitespeed.keys, bitespeed.put_key, bitespeed.cache_state,
            bitespeed.cache_resume, bitespeed.cache_suspend, bitespeed.cache_feed, bitespeed.sequences,
            bitespeed.inventory, bitespeed.awaits_adoption, bitespeed.facts, bitespeed.history,
            bitespeed.merges, bitespeed.partners, bitespeed.events
            to service_role;
    end if;
end
$$
