-- Who holds the values, as of one instant: the one at which the caller's statement began.
--
-- wanted is {"values": [[kind, value, id]], "contact": id, "members": boolean, "remembered": [[id,
-- stamp]]}. Returns {"holders": [id], "roots": [[id, root]], "identities": [...]}: for each value in
-- its order the identity it was filed under, or null; the roots of those that have ended; the live
-- identities concerned, see `live_identities`. An identity that the caller remembers at its present
-- stamp is confirmed: the values remembered to be its are not looked up, and it is not returned.
-- `offset 0` and the settings keep every plan on the keys: see docs/decisions/0013-row-level-security.md.
create or replace function bitespeed.read(tenant text, wanted jsonb)
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
    remembered jsonb := wanted -> 'remembered';
    contact    bigint := wanted ->> 'contact';
    confirmed  bigint[] := '{}';
    holders    bigint[];
    roots      json := '[]';
    concerned  bigint[];
    identities json := '[]';
begin
    perform set_config('bitespeed.tenant', read.tenant, true);
    if remembered <> '[]' then
        confirmed := array(
            select known.id
            from (select (r ->> 0)::bigint as id, (r ->> 1)::bigint as stamp
                  from jsonb_array_elements(remembered) as r offset 0) as known
            where known.stamp = (
                select i.stamp from bitespeed.identity i where i.id = known.id and i.root_id = i.id and i.tenant = read.tenant));
    end if;
    holders := array(
        select case when v.id = any (confirmed) then v.id
               else (select i.identity_id from bitespeed.identifier i
                     where i.tenant = read.tenant and i.kind = v.kind and i.value = v.value)
               end
        from (select a ->> 0 as kind, a ->> 1 as value, (a ->> 2)::bigint as id, place
              from jsonb_array_elements(wanted -> 'values') with ordinality as e (a, place) offset 0) as v
        order by v.place);
    concerned := array_remove(holders, null);
    if contact is not null then
        concerned := concerned
            || (select c.identity_id from bitespeed.contact_record c where c.id = contact and c.tenant = read.tenant);
    end if;
    if not concerned <@ confirmed then
        select coalesce(json_agg(json_build_array(i.id, i.root_id)) filter (where i.id <> i.root_id), '[]'),
               array_agg(i.root_id)
        into roots, concerned
        from bitespeed.identity i
        where i.id = any (concerned) and i.id <> all (confirmed) and i.tenant = read.tenant;
        identities := bitespeed.live_identities(read.tenant, concerned, confirmed, (wanted -> 'members')::boolean);
    end if;
    return json_build_object('holders', holders, 'roots', roots, 'identities', identities);
end
$$;
