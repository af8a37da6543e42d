-- The contacts that were born in an identity: the first one is found by its id, so that it has no entry in
-- the index of identities. The planner puts it in the place of its call.
create or replace function bitespeed.born_in(tenant text, identity bigint)
returns setof bitespeed.contact_record
language sql stable
as $$
    select c.* from bitespeed.contact_record c
    where c.id = born_in.identity and c.identity_id = born_in.identity and c.tenant = born_in.tenant
    union all
    select c.* from bitespeed.contact_record c
    where c.identity_id = born_in.identity and c.id is distinct from c.identity_id and c.tenant = born_in.tenant
$$;
