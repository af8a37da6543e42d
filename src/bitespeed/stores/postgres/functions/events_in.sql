-- The events of an identity: those of its first contact are found by its id, see `born_in`. The planner puts
-- it in the place of its call.
create or replace function bitespeed.events_in(tenant text, identity bigint)
returns setof bitespeed.event
language sql stable
as $$
    select e.* from bitespeed.event e
    where e.contact_id = events_in.identity and e.identity_id = events_in.identity and e.tenant = events_in.tenant
    union all
    select e.* from bitespeed.event e
    where e.identity_id = events_in.identity and e.contact_id is distinct from e.identity_id and e.tenant = events_in.tenant
$$;
