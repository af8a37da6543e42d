-- What is in the schema, for the comparison with what belongs there.

-- name: functions
select p.proname, l.lanname, p.prosrc
from pg_proc p
join pg_language l on l.oid = p.prolang
where p.pronamespace = 'bitespeed'::regnamespace

-- name: relations
select c.relname from pg_class c where c.relnamespace = 'bitespeed'::regnamespace

-- name: foreign_tables
select c.relname
from pg_class c
where c.relnamespace = 'bitespeed'::regnamespace and c.relkind = 'f'

-- name: invalid_indexes
select c.relname
from pg_index i
join pg_class c on c.oid = i.indexrelid
where c.relnamespace = 'bitespeed'::regnamespace and not i.indisvalid

-- name: function_set
select f.number, f.checksum from bitespeed.function_set f

-- name: secrets
select 'cache has no row, and so no secret' where not exists (select 1 from bitespeed.cache)
union all
select 'erasure_secret has no row, though there are tombstones'
where not exists (select 1 from bitespeed.erasure_secret) and exists (select 1 from bitespeed.tombstone)
