-- The events of a contact's identity behind a number, in order, one that created a contact with the
-- values of that: a list of arrays of the fields of the
-- Python struct `Happening`. wanted is {"contact": id, "after": number, "limit": number}.
create or replace function bitespeed.history(tenant text, wanted jsonb)
returns json
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    perform set_config('bitespeed.tenant', history.tenant, true);
    return (
        select coalesce(json_agg(json_build_array(
                   h.seq, h.at, h.kind, h.identity_id, h.contact_id, h.merged_id, h.primary_id,
                   coalesce(h.kind_of_value, case when n.email is not null then 'email' end), coalesce(h.value, n.email),
                   coalesce(h.kind_of_other, case when n.phone is not null then 'phone' end), coalesce(h.other, n.phone),
                   h.source, h.label, h.merged_primary_id, h.size, h.merged_size)
                   order by h.seq), '[]')
        from (select e.*
              from bitespeed.contact_record c
              join bitespeed.identity born on born.id = c.identity_id and born.tenant = c.tenant
              join bitespeed.identity family on family.root_id = born.root_id and family.tenant = c.tenant
              join bitespeed.event e on e.identity_id = family.id and e.tenant = c.tenant
              where c.id = (wanted ->> 'contact')::bigint and c.tenant = history.tenant
                and e.seq > (wanted ->> 'after')::bigint
              order by e.seq
              limit (wanted ->> 'limit')::integer) as h
        left join bitespeed.contact_record n
            on n.id = h.contact_id and n.tenant = history.tenant and h.kind in ('contact.created', 'contact.adopted'));
end
$$;
