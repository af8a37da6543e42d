-- Who holds the values, as of one instant: the one at which the caller's statement began.
--
-- asked is {"values": [[kind, value, id]], "contact": id, "members": boolean, "remembered":
-- [[id, version]]}. The answer is {"holders": [id], "roots": [[id, root]], "identities": [[id,
-- version, primary_id, primary_at, contacts, [[id, created_at, email, phone]]]]}: for each value in
-- its order the identity that took it in, or null; the roots of those that have ended; and the live
-- identities concerned with, if asked, their live contacts. What the caller remembers is confirmed
-- when it still lives at that version: a value remembered to be its is not looked for, and it is
-- not told again.
--
-- `offset 0` and the settings hold the planner to the keys: a plan that is made while the tables
-- are empty is kept while they grow. What is looked for is taken out of its document beforehand,
-- since under row level security no key is compared with what a function that might tell it gives.
create function bitespeed.read(tenant text, asked jsonb)
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
    remembered jsonb := asked -> 'remembered';
    contact    bigint := asked ->> 'contact';
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
            from (select (r ->> 0)::bigint as id, (r ->> 1)::integer as version
                  from jsonb_array_elements(remembered) as r
                  offset 0) as known
            where known.version = (
                select i.version
                from bitespeed.identity i
                where i.id = known.id and i.root_id = i.id));
    end if;
    holders := array(
        select case when v.id = any (confirmed) then v.id
               else (select i.identity_id
                     from bitespeed.identifier i
                     where i.tenant = read.tenant and i.kind = v.kind and i.value = v.value)
               end
        from (select a ->> 0 as kind, a ->> 1 as value, (a ->> 2)::bigint as id, place
              from jsonb_array_elements(asked -> 'values') with ordinality as e (a, place)
              offset 0) as v
        order by v.place);
    concerned := array_remove(holders, null);
    if contact is not null then
        concerned := concerned || (
            select c.identity_id
            from bitespeed.contact_record c
            where c.id = contact and c.tenant = read.tenant);
    end if;
    if not concerned <@ confirmed then
        select coalesce(json_agg(json_build_array(i.id, i.root_id)) filter (where i.id <> i.root_id), '[]'),
               array_agg(i.root_id)
        into roots, concerned
        from bitespeed.identity i
        where i.id = any (concerned) and i.id <> all (confirmed);

        select coalesce(json_agg(json_build_array(
                   r.id, r.version, r.primary_id, r.primary_at, r.contacts,
                   case when not (asked -> 'members')::boolean then '[]'
                   when r.contacts = 1 then (
                       select json_build_array(json_build_array(c.id, c.created_at, c.email, c.phone))
                       from bitespeed.contact_record c
                       where c.id = r.primary_id)
                   else (
                       select json_agg(json_build_array(c.id, c.created_at, c.email, c.phone))
                       from (select i.id from bitespeed.identity i where i.root_id = r.id offset 0) as born,
                            lateral (select m.id, m.created_at, m.email, m.phone
                                     from bitespeed.contact_record m
                                     where m.identity_id = born.id and m.deleted_at is null
                                     offset 0) as c)
                   end)), '[]')
        into identities
        from bitespeed.identity r
        where r.id = any (concerned) and r.id <> all (confirmed) and r.contacts > 0;
    end if;
    return json_build_object('holders', holders, 'roots', roots, 'identities', identities);
end
$$;

revoke execute on function bitespeed.read from public;
