-- What the epoch of the cache is bound to: this server since it started, with these files of the table.
-- Another one after a restart, a failover, in a clone of the machine or of the database, and after a
-- restore in place, which makes the table anew. See docs/decisions/0027-incarnation.md.
create or replace function bitespeed.incarnation()
returns text
language plpgsql stable
as $$
begin
    return concat_ws(' ', extract(epoch from pg_postmaster_start_time()), pg_relation_filepath('bitespeed.identity'));
end
$$;
