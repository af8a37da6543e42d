-- What has been applied to a database, and the turn to apply more.

-- name: schema
create schema if not exists bitespeed

-- name: migrations
create table if not exists bitespeed.migration (
    name       text        primary key,
    checksum   text        not null,
    applied_at timestamptz not null default now()
)

-- name: functions
-- Which release's functions the schema has. One row.
create table if not exists bitespeed.function_set (
    is_only    boolean     primary key default true check (is_only),
    number     integer     not null,
    checksum   text        not null,
    applied_at timestamptz not null default now()
)

-- name: names_in_schema
-- Relations with their columns, and functions, in one statement: another process may be migrating.
select c.relname, coalesce((
        select array_agg(a.attname::text order by a.attnum)
        from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    ), '{}')
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'bitespeed'
union all
select p.proname, '{}'
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'bitespeed'

-- name: has_ledger
-- A look into the catalog's tables. `to_regclass` may answer from memory, even after a wait for a turn
-- in which another process has made the ledger.
select exists (select 1 from pg_tables t where t.schemaname = 'bitespeed' and t.tablename = 'migration')

-- name: applied
select m.name, m.checksum from bitespeed.migration m

-- name: stored_functions
select f.number, f.checksum from bitespeed.function_set f

-- name: lock_timeout
select set_config('lock_timeout', %s, true)

-- name: turn
select pg_advisory_xact_lock(%s)

-- name: record_migration
insert into bitespeed.migration (name, checksum) values ({}, {})

-- name: record_functions
insert into bitespeed.function_set (number, checksum) values ({}, {})
on conflict (is_only) do update
set number = excluded.number, checksum = excluded.checksum, applied_at = now()

-- name: refuse_later
do $$
begin
    if exists (select 1 from bitespeed.function_set f where f.number > {}) then
        raise exception 'a later release has written the functions of this schema';
    end if;
end
$$
