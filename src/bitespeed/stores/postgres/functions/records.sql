-- All that is stored of some identities, as of one instant: of those that hold one of the values, that
-- have a deleted contact with one, or that have the contact.
--
-- wanted is {"values": [text], "contact": id}; no email is a phone number. Returns {"heads": [...],
-- "contacts": [...], "identifiers": [...], "events": [...]}, like `scan`.
create or replace function bitespeed.records(tenant text, wanted jsonb)
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
    texts  text[] := array(select jsonb_array_elements_text(wanted -> 'values'));
    born   bigint[];
    roots  bigint[];
begin
    perform set_config('bitespeed.tenant', records.tenant, true);
    born := array(
        select i.identity_id from bitespeed.identifier i
        where i.tenant = records.tenant and i.value = any (texts)
        union
        select c.identity_id from bitespeed.contact_record c
        where c.tenant = records.tenant and c.email = any (texts) and c.deleted_at is not null
        union
        select c.identity_id from bitespeed.contact_record c
        where c.tenant = records.tenant and c.phone = any (texts) and c.deleted_at is not null
        union
        select c.identity_id from bitespeed.contact_record c
        where c.id = (wanted ->> 'contact')::bigint and c.tenant = records.tenant);
    roots := array(
        select distinct i.root_id from bitespeed.identity i where i.id = any (born) and i.tenant = records.tenant);
    return bitespeed.records_below(records.tenant, array(
        select f.id from unnest(roots) as r (id), lateral bitespeed.family(records.tenant, r.id) as f (id)));
end
$$;
