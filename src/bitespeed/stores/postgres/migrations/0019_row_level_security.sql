-- Every row belongs to a tenant, and a statement sees and writes only those of the tenant it has told:
-- a second lock beside the predicates of the functions. It binds the owner too, as whom the functions
-- run, unless that is a superuser or bypasses row level security. Who tells nothing, such as a report
-- that reads a view, is the usual tenant; `*` is all tenants at once, for those who read or fill whole
-- tables.
--
-- Asked for in subqueries, so once for a statement and not for each row. For the owner alone: others
-- see no row, even if the tables are granted to them.
do $$
declare
    name text;
begin
    foreach name in array array['identity', 'contact_record', 'identifier', 'event', 'tombstone'] loop
        execute format('alter table bitespeed.%I force row level security', name);
        execute format($policy$
            create policy tenant on bitespeed.%I to current_user using (
                tenant = (select coalesce(nullif(current_setting('bitespeed.tenant', true), ''), bitespeed.usual_tenant()))
                or (select current_setting('bitespeed.tenant', true) = '*'))
            $policy$, name);
    end loop;
end
$$;
