-- What erasures have left of the pseudonyms wanted, in a JSON array: {"secret": text, "erased_at":
-- {pseudonym: instant}}. The secret is null while nothing has ever been erased.
create or replace function bitespeed.tombstones(tenant text, wanted jsonb)
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
    perform set_config('bitespeed.tenant', tombstones.tenant, true);
    return json_build_object(
        'secret', (select s.secret from bitespeed.erasure_secret s),
        'erased_at', (
            select coalesce(json_object_agg(t.pseudonym, t.at), '{}')
            from jsonb_array_elements_text(wanted) as a (pseudonym)
            join bitespeed.tombstone t on t.tenant = tombstones.tenant and t.pseudonym = a.pseudonym));
end
$$;
