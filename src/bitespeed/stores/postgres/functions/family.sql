-- The identities with a root, itself among them: its own row is found by its id, so that a new identity has
-- no entry in the index of roots. The planner puts it in the place of its call.
create or replace function bitespeed.family(tenant text, root bigint)
returns setof bigint
language sql stable
as $$
    select i.id from bitespeed.identity i
    where i.id = family.root and i.root_id = family.root and i.tenant = family.tenant
    union all
    select i.id from bitespeed.identity i
    where i.root_id = family.root and i.id <> i.root_id and i.tenant = family.tenant
$$;
