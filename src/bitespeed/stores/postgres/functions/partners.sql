-- With how many others each value was seen together, counted up to a limit: a list of numbers in the order
-- of the values. Only what somebody has now counts. wanted is {"values": [[kind, value]], "limit": number}.
create or replace function bitespeed.partners(tenant text, wanted jsonb)
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
    most    integer := wanted ->> 'limit';
    counts  integer[] := '{}';
    hub     record;
    partner text;
    found   text[];
begin
    perform set_config('bitespeed.tenant', partners.tenant, true);
    for hub in select w.v ->> 0 as kind, w.v ->> 1 as value from jsonb_array_elements(wanted -> 'values') as w (v) loop
        found := '{}';
        -- Row by row, so that no more are read than are counted. A contact of one value has no partner.
        for partner in
            select p.kind || p.value
            from (select 'phone' as kind, c.phone as value, c.email_until as until, c.phone_until as other_until from bitespeed.contact_record c
                  where c.email = hub.value and hub.kind = 'email' and c.id <> c.identity_id and c.tenant = partners.tenant
                  union all
                  select 'email', c.email, c.email_until, c.phone_until from bitespeed.contact_record c
                  where c.phone = hub.value and hub.kind = 'phone' and c.id <> c.identity_id and c.tenant = partners.tenant
                  union all
                  select case when hub.kind = 'email' then 'phone' else 'email' end,
                         case when hub.kind = 'email' then c.phone else c.email end, c.email_until, c.phone_until
                  from bitespeed.identifier i,
                       lateral (select f.* from bitespeed.contact_record f
                                where f.id = i.identity_id and f.tenant = i.tenant offset 0) as c
                  where i.value = hub.value and i.kind = hub.kind and i.tenant = partners.tenant
                    and case when hub.kind = 'email' then c.email else c.phone end = hub.value
                  union all
                  select 'phone', c.phone, c.email_until, c.phone_until from bitespeed.contact_record c
                  where c.email = hub.value and hub.kind = 'email' and c.deleted_at is not null and c.tenant = partners.tenant
                  union all
                  select 'email', c.email, c.email_until, c.phone_until from bitespeed.contact_record c
                  where c.phone = hub.value and hub.kind = 'phone' and c.deleted_at is not null and c.tenant = partners.tenant
                  union all
                  select e.kind_of_other, e.other, e.value_until, e.other_until from bitespeed.event_record e
                  where e.value = hub.value and e.kind_of_value = hub.kind and e.tenant = partners.tenant
                  union all
                  select e.kind_of_value, e.value, e.value_until, e.other_until from bitespeed.event_record e
                  where e.other = hub.value and e.kind_of_other = hub.kind and e.tenant = partners.tenant offset 0) as p
            where p.until is null and p.other_until is null
        loop
            if partner is not null and partner <> all (found) then found := found || partner; end if;
            exit when cardinality(found) >= most;
        end loop;
        counts := counts || cardinality(found);
    end loop;
    return to_json(counts);
end
$$;
