-- Whether public.contact holds contacts that `bitespeed adopt` would take over and nobody has: it is a
-- table in the published shape with rows, and our tables have none. Stores call it when they are opened.
--
-- The table is locked before it is read. A view could take its place meanwhile, and its code would run
-- with the rights of our owner.
create or replace function bitespeed.awaits_adoption()
returns json
language plpgsql volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
as $$
declare
    existing oid;
begin
    perform set_config('bitespeed.tenant', '*', true);
    if to_regclass('public.contact') is null then
        return to_json(false);  -- without a lock on any table
    end if;
    if exists (select 1 from bitespeed.identity i)  -- nearly always, so first
        or exists (select 1 from bitespeed.contact_record c)
        or exists (select 1 from bitespeed.identifier v)
        or exists (select 1 from bitespeed.event e)
        or to_regclass('bitespeed.adopted_contact') is not null
    then
        return to_json(false);
    end if;
    existing := bitespeed.published_contact();
    if existing is null then
        return to_json(false);
    end if;
    if not has_schema_privilege('public', 'usage')
        or not has_table_privilege(existing, 'select')
        or row_security_active(existing)
    then
        return to_json(pg_relation_size(existing) > 0);  -- our owner may not read every row
    end if;
    lock table public.contact in access share mode;
    if bitespeed.published_contact() is null then
        return to_json(false);  -- adopted, or replaced, while we waited for the lock
    end if;
    return to_json(exists (select 1 from public.contact));
end
$$;
