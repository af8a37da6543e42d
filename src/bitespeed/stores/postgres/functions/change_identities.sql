-- Bring identities that are locked to what [id, root, primary, primary_at, contacts, stamp] says, at
-- the next version and another stamp; `ids` are those of the new contacts. A part of `commit`.
create or replace function bitespeed.change_identities(tenant text, stored jsonb, ids bigint[], at bigint)
returns void
language plpgsql volatile
as $$
declare
    change   jsonb;
    primary_ bigint;
begin
    for change in select * from jsonb_array_elements(stored) loop
        primary_ := case when (change ->> 2)::bigint < 0 then ids[-(change ->> 2)::bigint] else (change ->> 2)::bigint end;
        update bitespeed.identity i
        set relabelled_at = case when i.primary_id is distinct from primary_
                                 then change_identities.at else i.relabelled_at end,
            primary_id = primary_, primary_at = (change ->> 3)::bigint,
            contacts = (change ->> 4)::integer, version = i.version + 1, stamp = default
        where i.id = (change ->> 0)::bigint and i.tenant = change_identities.tenant;
    end loop;

    -- An identity that ends in a merge hands over all that had it as root, its own row included.
    for change in select c from jsonb_array_elements(stored) as i (c) where c -> 0 <> c -> 1 loop
        update bitespeed.identity i
        set root_id = (change ->> 1)::bigint, relabelled_at = change_identities.at
        where i.id = any (array(select f.id from bitespeed.family(change_identities.tenant, (change ->> 0)::bigint) as f (id)))
          and i.tenant = change_identities.tenant;
    end loop;
end
$$;
