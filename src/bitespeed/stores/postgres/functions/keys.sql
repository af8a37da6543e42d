-- The API keys with these ids, or all of them: [{"id", "tenant", "scopes", "hash", "created_at",
-- "expires_at", "revoked_at"}].
create or replace function bitespeed.keys(ids jsonb default null)
returns json
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select coalesce(json_agg(k), '[]')
        from bitespeed.api_key k
        where keys.ids is null or k.id = any (array(select jsonb_array_elements_text(keys.ids))));
end
$$;
