-- All that is stored of some identities, as of one instant: of those that hold one of the values, that
-- have a deleted contact with one, or that have the contact.
--
-- asked is {"values": [text], "contact": id}; no email is a phone number. The answer is {"heads": [...],
-- "contacts": [...], "identifiers": [...], "events": [...]}, like that of `scan`.
create function bitespeed.records(tenant text, asked jsonb)
returns json
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    wanted text[] := array(select jsonb_array_elements_text(asked -> 'values'));
    born   bigint[];
    roots  bigint[];
    family bigint[];
begin
    perform set_config('bitespeed.tenant', records.tenant, true);
    born := array(
        select i.identity_id from bitespeed.identifier i
        where i.tenant = records.tenant and i.value = any (wanted)
        union
        select c.identity_id from bitespeed.contact_record c
        where c.tenant = records.tenant and c.email = any (wanted) and c.deleted_at is not null
        union
        select c.identity_id from bitespeed.contact_record c
        where c.tenant = records.tenant and c.phone = any (wanted) and c.deleted_at is not null
        union
        select c.identity_id from bitespeed.contact_record c
        where c.id = (asked ->> 'contact')::bigint and c.tenant = records.tenant);
    roots := array(select distinct i.root_id from bitespeed.identity i where i.id = any (born));
    family := array(select i.id from bitespeed.identity i where i.root_id = any (roots));
    return json_build_object(
        'heads', (
            select coalesce(json_agg(json_build_array(
                       i.root_id, i.id, i.tenant, i.root_id, i.primary_id, i.primary_at, i.contacts, i.version)
                       order by i.root_id, i.id), '[]')
            from bitespeed.identity i
            where i.id = any (family)),
        'contacts', (
            select coalesce(json_agg(json_build_array(
                       i.root_id, c.id, c.tenant, c.identity_id, c.email, c.phone,
                       c.raw_email, c.raw_phone, c.created_at, c.updated_at, c.deleted_at)
                       order by i.root_id, c.created_at, c.id), '[]')
            from bitespeed.contact_record c
            join bitespeed.identity i on i.id = c.identity_id
            where c.identity_id = any (family)),
        'identifiers', (
            select coalesce(json_agg(json_build_array(i.root_id, v.tenant, v.kind, v.value, v.identity_id)
                       order by i.root_id), '[]')
            from (select h.tenant, h.kind, h.value, h.identity_id
                  from bitespeed.contact_record c
                  join bitespeed.identifier h on h.tenant = c.tenant and h.kind = 'email' and h.value = c.email
                  where c.identity_id = any (family) and c.deleted_at is null
                  union
                  select h.tenant, h.kind, h.value, h.identity_id
                  from bitespeed.contact_record c
                  join bitespeed.identifier h on h.tenant = c.tenant and h.kind = 'phone' and h.value = c.phone
                  where c.identity_id = any (family) and c.deleted_at is null) as v
            join bitespeed.identity i on i.id = v.identity_id),
        'events', (
            select coalesce(json_agg(json_build_array(
                       i.root_id, e.seq, e.tenant, e.at, e.kind, e.identity_id, e.version,
                       e.contact_id, e.merged_id, e.email, e.phone)
                       order by i.root_id, e.seq), '[]')
            from bitespeed.event e
            join bitespeed.identity i on i.id = e.identity_id
            where e.identity_id = any (family)));
end
$$;

revoke execute on function bitespeed.records from public;
