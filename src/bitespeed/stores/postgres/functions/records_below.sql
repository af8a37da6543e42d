-- The rows of the identities with these ids, each as an array that begins with the root it leads to and
-- ordered by that; a part of `records`.
create or replace function bitespeed.records_below(tenant text, ids bigint[])
returns json
language plpgsql stable
as $$
begin
    return json_build_object(
        'heads', (
            select coalesce(json_agg(json_build_array(
                       i.root_id, i.id, i.tenant, i.root_id, i.primary_id, i.primary_at, i.contacts, i.version, i.stamp,
                       i.relabelled_at)
                       order by i.root_id, i.id), '[]')
            from bitespeed.identity i
            where i.id = any (ids) and i.tenant = records_below.tenant),
        'contacts', (
            select coalesce(json_agg(json_build_array(
                       i.root_id, c.id, c.tenant, c.identity_id, c.email, c.phone,
                       c.raw_email, c.raw_phone, c.created_at, c.updated_at, c.deleted_at,
                       c.country, c.email_until, c.phone_until, c.anchor)
                       order by i.root_id, c.created_at, c.id), '[]')
            from unnest(ids) as b (id), lateral bitespeed.born_in(records_below.tenant, b.id) as c
            join bitespeed.identity i on i.id = c.identity_id and i.tenant = c.tenant),
        'identifiers', (
            select coalesce(json_agg(json_build_array(i.root_id, v.tenant, v.kind, v.value, v.identity_id)
                       order by i.root_id), '[]')
            from (select h.tenant, h.kind, h.value, h.identity_id
                  from unnest(ids) as b (id), lateral bitespeed.born_in(records_below.tenant, b.id) as c
                  join bitespeed.identifier h on h.tenant = c.tenant and h.kind = 'email' and h.value = c.email
                  where c.deleted_at is null
                  union
                  select h.tenant, h.kind, h.value, h.identity_id
                  from unnest(ids) as b (id), lateral bitespeed.born_in(records_below.tenant, b.id) as c
                  join bitespeed.identifier h on h.tenant = c.tenant and h.kind = 'phone' and h.value = c.phone
                  where c.deleted_at is null) as v
            join bitespeed.identity i on i.id = v.identity_id and i.tenant = v.tenant),
        'events', (
            select coalesce(json_agg(bitespeed.event_array(i.root_id, e)
                       order by i.root_id, e.seq), '[]')
            from unnest(ids) as b (id), lateral bitespeed.events_in(records_below.tenant, b.id) as e
            join bitespeed.identity i on i.id = e.identity_id and i.tenant = e.tenant));
end
$$;
