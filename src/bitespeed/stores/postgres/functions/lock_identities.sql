-- Lock the identities of some changes, [id, root, primary, primary_at, contacts, stamp], in the order
-- of ids. Returns false at the first one that is no longer live at that stamp; a part of `commit`.
--
-- The order keeps commits from waiting for each other in a ring. Each identity is compared as soon as
-- it is locked, so nobody waits while holding the lock of a dead one: whoever ended it may be waiting
-- to relabel it.
create or replace function bitespeed.lock_identities(tenant text, stored jsonb)
returns boolean
language plpgsql volatile
as $$
declare
    change jsonb;
begin
    for change in select c from jsonb_array_elements(stored) as i (c) order by (c ->> 0)::bigint loop
        perform 1
        from bitespeed.identity i
        where i.id = (change ->> 0)::bigint and i.tenant = lock_identities.tenant
          and i.root_id = i.id and i.stamp = (change ->> 5)::bigint
        for no key update;
        if not found then
            return false;
        end if;
    end loop;
    return true;
end
$$;
