-- The contacts, live or deleted, that show one of the values; a part of `facts`. The first contact of an
-- identity is found by the identity that holds its value, or by the value once it is deleted.
create or replace function bitespeed.contacts_with(tenant text, emails text[], phones text[])
returns bigint[]
language plpgsql stable
as $$
begin
    return array(
        select c.id from bitespeed.contact_record c
        where c.tenant = contacts_with.tenant and c.email = any (emails) and c.id <> c.identity_id
        union
        select c.id from bitespeed.contact_record c
        where c.tenant = contacts_with.tenant and c.phone = any (phones) and c.id <> c.identity_id
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
        select c.id from bitespeed.contact_record c
        where c.tenant = contacts_with.tenant and c.email = any (emails) and c.deleted_at is not null
        union
        select c.id from bitespeed.contact_record c
        where c.tenant = contacts_with.tenant and c.phone = any (phones) and c.deleted_at is not null);
end
$$;
