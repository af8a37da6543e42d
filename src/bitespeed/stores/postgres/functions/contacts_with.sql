-- The contacts, live or deleted, that show one of the values; a part of `facts`. The first contact of an
-- identity is found by the identity that holds its value, or by the value once it is deleted. Where there
-- are more than `most`, more than that are returned, but not all.
create or replace function bitespeed.contacts_with(tenant text, emails text[], phones text[], most integer)
returns bigint[]
language plpgsql stable
as $$
begin
    return array(
        (select of_value.id
         from unnest(emails) as wanted (value),
              lateral (select c.id from bitespeed.contact_record c
                       where c.tenant = contacts_with.tenant and c.email = wanted.value and c.id <> c.identity_id
                       offset 0) as of_value
         limit most + 1)
        union
        (select of_value.id
         from unnest(phones) as wanted (value),
              lateral (select c.id from bitespeed.contact_record c
                       where c.tenant = contacts_with.tenant and c.phone = wanted.value and c.id <> c.identity_id
                       offset 0) as of_value
         limit most + 1)
        union
        select c.id
        from (select i.identity_id
              from bitespeed.identifier i
              where i.tenant = contacts_with.tenant and i.kind = 'email' and i.value = any (emails)
              union
              select i.identity_id
              from bitespeed.identifier i
              where i.tenant = contacts_with.tenant and i.kind = 'phone' and i.value = any (phones)) as holder,
             lateral (select f.id
                      from bitespeed.contact_record f
                      where f.id = holder.identity_id and f.tenant = contacts_with.tenant
                        and (f.email = any (emails) or f.phone = any (phones))
                      offset 0) as c
        union
        (select of_value.id
         from unnest(emails) as wanted (value),
              lateral (select c.id from bitespeed.contact_record c
                       where c.tenant = contacts_with.tenant and c.email = wanted.value and c.deleted_at is not null
                       offset 0) as of_value
         limit most + 1)
        union
        (select of_value.id
         from unnest(phones) as wanted (value),
              lateral (select c.id from bitespeed.contact_record c
                       where c.tenant = contacts_with.tenant and c.phone = wanted.value and c.deleted_at is not null
                       offset 0) as of_value
         limit most + 1));
end
$$;
