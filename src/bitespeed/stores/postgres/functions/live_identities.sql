-- The live identities among `ids`, without those confirmed: [[id, version, stamp, primary_id,
-- primary_at, contacts, [[id, created_at, email, phone]], [[kind, value, other kind, other value]]]], with
-- their live contacts, and the pairs that these do not show, if `members`; a part of `read`.
create or replace function bitespeed.live_identities(
    tenant text, ids bigint[], confirmed bigint[], members boolean)
returns json
language plpgsql stable
as $$
begin
    return (
        select coalesce(json_agg(json_build_array(
                   r.id, r.version, r.stamp, r.primary_id, r.primary_at, r.contacts,
                   case when not live_identities.members then '[]'
                   when r.contacts = 1 then (
                       select json_build_array(json_build_array(c.id, c.created_at, c.email, c.phone))
                       from bitespeed.contact_record c
                       where c.id = r.primary_id and c.tenant = live_identities.tenant)
                   else (
                       select json_agg(json_build_array(c.id, c.created_at, c.email, c.phone))
                       from (select f.id from bitespeed.family(live_identities.tenant, r.id) as f (id) offset 0) as born,
                            lateral (select m.id, m.created_at, m.email, m.phone
                                     from bitespeed.born_in(live_identities.tenant, born.id) as m
                                     where m.deleted_at is null
                                     offset 0) as c)
                   end,
                   case when not live_identities.members or r.contacts = 1 then '[]'
                   else bitespeed.pairs_beside(live_identities.tenant, r.id)
                   end)), '[]')
        from bitespeed.identity r
        where r.id = any (ids) and r.id <> all (confirmed) and r.contacts > 0
          and r.tenant = live_identities.tenant);
end
$$;
