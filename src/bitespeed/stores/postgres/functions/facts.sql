-- The facts about some values and contacts: a list of arrays of the fields of the Python struct `Fact`; null
-- where there are more than the limit.
-- wanted is {"values": [[kind, value]], "contacts": [id], "as_of": instant, "limit": number}. As of an
-- instant, unless that is null, nobody had given up a value that was given up later.
create or replace function bitespeed.facts(tenant text, wanted jsonb)
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
    as_of    bigint := wanted ->> 'as_of';
    emails   text[] := array(select v ->> 1 from jsonb_array_elements(wanted -> 'values') as w (v) where v ->> 0 = 'email');
    phones   text[] := array(select v ->> 1 from jsonb_array_elements(wanted -> 'values') as w (v) where v ->> 0 = 'phone');
    most     integer := wanted ->> 'limit';
    contacts bigint[];
begin
    perform set_config('bitespeed.tenant', facts.tenant, true);
    contacts := bitespeed.contacts_with(facts.tenant, emails, phones, most)
        || array(select c::bigint from jsonb_array_elements_text(wanted -> 'contacts') as w (c));
    if cardinality(contacts) > most then
        return null;
    end if;
    return (
        select case when count(*) <= most then coalesce(json_agg(json_build_array(
                   f.seq, f.at, f.identity_id, f.contact,
                   case when f.value is not null then json_build_array(f.kind, f.value, case when as_of is null or as_of >=
                       (select e.at from bitespeed.event_record e where e.seq = f.until and e.tenant = facts.tenant) then f.until end) end,
                   case when f.other is not null then json_build_array(f.other_kind, f.other, case when as_of is null or as_of >=
                       (select e.at from bitespeed.event_record e where e.seq = f.other_until and e.tenant = facts.tenant) then f.other_until end) end,
                   f.source, f.label, f.anchor, f.created_at, f.deleted_at))
                   filter (where as_of is null or f.at <= as_of), '[]') end
        from (select e.seq, e.at, c.identity_id, c.id as contact, 'email' as kind, c.email as value, c.email_until as until,
                     'phone' as other_kind, c.phone as other, c.phone_until as other_until, e.source, e.label, c.anchor,
                     c.created_at, c.deleted_at
              from unnest(contacts) as named (id),
                   lateral (select r.* from bitespeed.contact_record r
                            where r.id = named.id and r.tenant = facts.tenant offset 0) as c,
                   lateral (select c.number as seq, c.at, c.source, c.label where c.number is not null
                            union all
                            select b.seq, b.at, b.source, b.label from bitespeed.event_record b
                            where c.number is null and b.identity_id = c.identity_id and b.contact_id = c.id
                              and b.tenant = facts.tenant and b.kind = 'contact.adopted' offset 0) as e
              union all
              select e.seq, e.at, e.identity_id, null, e.kind_of_value, e.value, e.value_until, e.kind_of_other, e.other,
                     e.other_until, e.source, e.label, null, 0, null
              from bitespeed.event_record e
              where e.value = any (emails || phones) and e.kind_of_value = any ('{email,phone}') and e.tenant = facts.tenant
              union all
              select e.seq, e.at, e.identity_id, null, e.kind_of_value, e.value, e.value_until, e.kind_of_other, e.other,
                     e.other_until, e.source, e.label, null, 0, null
              from bitespeed.event_record e
              where e.other = any (emails || phones) and e.kind_of_other = any ('{email,phone}') and e.tenant = facts.tenant
              limit most + 1) as f);
end
$$;
