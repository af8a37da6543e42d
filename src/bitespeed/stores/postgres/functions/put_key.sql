-- Keep an API key, or change until when it is good.
create or replace function bitespeed.put_key(key jsonb)
returns json
language plpgsql volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '4s'
as $$
begin
    insert into bitespeed.api_key
    select * from jsonb_populate_record(null::bitespeed.api_key, put_key.key)
    on conflict (id) do update set expires_at = excluded.expires_at, revoked_at = excluded.revoked_at;
    return null;
end
$$;
