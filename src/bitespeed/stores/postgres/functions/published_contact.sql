-- public.contact, if it is a plain table in the published shape, else null; a part of `awaits_adoption`.
-- Whether a column fits is decided as in bulk/adopt/table.py, and a test compares the two.
create or replace function bitespeed.published_contact()
returns oid
language plpgsql volatile
as $$
begin
    return (
        select fitting.attrelid
        from (select distinct on (c.oid, lower(a.attname))
                     a.attrelid, lower(a.attname) as name, t.typname as type, t.typtype as kind
              from pg_class c
              join pg_namespace n on n.oid = c.relnamespace
              join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
              join pg_type t on t.oid = a.atttypid
              where n.nspname = 'public' and c.relname = 'contact' and c.relkind = 'r'
              order by c.oid, lower(a.attname), a.attnum) as fitting
        where case
            when name in ('id', 'linkedid') then type in ('int2', 'int4', 'int8')
            when name in ('phonenumber', 'email') then type in ('varchar', 'text', 'bpchar', 'citext')
            when name = 'linkprecedence' then type in ('varchar', 'text', 'bpchar', 'citext') or kind = 'e'
            when name in ('createdat', 'updatedat', 'deletedat') then type in ('timestamp', 'timestamptz')
            else false
        end
        group by fitting.attrelid
        having count(*) = 8);
end
$$;
