-- All that is stored of every tenant, as of one instant, for callers without a connection that could
-- hold a cursor: {"heads": [...], "contacts": [...], "identifiers": [...], "events": [...],
-- "tombstones": [...], "secrets": [...]}. Each row is an array that begins with the root it leads to, 0
-- for none, and each list is ordered by that. Null when there are more contacts than `max_contacts`,
-- since all of it is made in memory.
create or replace function bitespeed.scan(max_contacts integer)
returns json
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config('bitespeed.tenant', '*', true);
    if (select count(*) from (select 1 from bitespeed.contact_record c limit max_contacts + 1) as counted) > max_contacts then
        return null;
    end if;
    return json_build_object(
        'heads', (
            select coalesce(json_agg(json_build_array(
                       i.root_id, i.id, i.tenant, i.root_id, i.primary_id, i.primary_at, i.contacts, i.version, i.stamp,
                       i.relabelled_at)
                       order by i.root_id, i.id), '[]')
            from bitespeed.identity i),
        'contacts', (
            select coalesce(json_agg(json_build_array(
                       coalesce(born.root_id, 0), c.id, c.tenant, c.identity_id, c.email, c.phone,
                       c.raw_email, c.raw_phone, c.created_at, c.updated_at, c.deleted_at,
                       c.country, c.email_until, c.phone_until, c.anchor)
                       order by coalesce(born.root_id, 0), c.created_at, c.id), '[]')
            from bitespeed.contact_record c
            left join bitespeed.identity born on born.id = c.identity_id),
        'identifiers', (
            select coalesce(json_agg(json_build_array(
                       coalesce(born.root_id, 0), i.tenant, i.kind, i.value, i.identity_id)
                       order by coalesce(born.root_id, 0)), '[]')
            from bitespeed.identifier i
            left join bitespeed.identity born on born.id = i.identity_id),
        'events', (
            select coalesce(json_agg(bitespeed.event_array(coalesce(named.root_id, 0), e)
                       order by coalesce(named.root_id, 0), e.seq), '[]')
            from bitespeed.event e
            left join bitespeed.identity named on named.id = e.identity_id),
        'tombstones', (
            select coalesce(json_agg(json_build_array(0, t.tenant, t.pseudonym, t.at, t.erasure)
                       order by t.tenant, t.pseudonym), '[]')
            from bitespeed.tombstone t),
        'secrets', (select coalesce(json_agg(json_build_array(0, s.secret)), '[]') from bitespeed.erasure_secret s));
end
$$;
