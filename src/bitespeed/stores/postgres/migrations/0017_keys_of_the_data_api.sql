-- See 0009_data_api.sql.
do $$
begin
    if exists (select from pg_roles where rolname = 'service_role') then
        grant execute on function bitespeed.keys, bitespeed.put_key to service_role;
    end if;
end
$$;
