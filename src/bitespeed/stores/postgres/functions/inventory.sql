-- What is in the schema, for the comparison with what belongs there: {"functions": [[name, language,
-- body]], "relations": [[name, kind]], "invalid_indexes": [name], "empty": [name], "function_sets":
-- [{"number", "checksum"}]}. `empty` names those of three tables that have no row.
create or replace function bitespeed.inventory()
returns json
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    name    text;
    is_used boolean;
    empty   text[] := '{}';
begin
    perform set_config('bitespeed.tenant', '*', true);
    foreach name in array array['cache', 'erasure_secret', 'tombstone'] loop
        if to_regclass('bitespeed.' || name) is not null then
            execute format('select exists (select 1 from bitespeed.%I)', name) into is_used;
            if not is_used then
                empty := empty || name;
            end if;
        end if;
    end loop;
    return json_build_object(
        'functions', (
            select coalesce(json_agg(json_build_array(p.proname, l.lanname, coalesce(pg_get_function_sqlbody(p.oid), p.prosrc))), '[]')
            from pg_proc p
            join pg_language l on l.oid = p.prolang
            where p.pronamespace = 'bitespeed'::regnamespace),
        'relations', (
            select coalesce(json_agg(json_build_array(c.relname, c.relkind)), '[]')
            from pg_class c
            where c.relnamespace = 'bitespeed'::regnamespace),
        'invalid_indexes', (
            select coalesce(json_agg(c.relname), '[]')
            from pg_index i
            join pg_class c on c.oid = i.indexrelid
            where c.relnamespace = 'bitespeed'::regnamespace and not i.indisvalid),
        'empty', empty,
        'function_sets', (select coalesce(json_agg(f), '[]') from bitespeed.function_set f));
end
$$;
