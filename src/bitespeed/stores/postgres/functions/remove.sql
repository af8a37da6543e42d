-- Delete the contacts that the changes name, free the values that no live contact carries any more,
-- and erase what is to be erased; a part of `commit`.
create or replace function bitespeed.remove(tenant text, changes jsonb, at bigint)
returns void
language plpgsql volatile
as $$
declare
    removed jsonb;
begin
    for removed in select * from jsonb_array_elements(changes -> 'deleted') loop
        update bitespeed.contact_record c
        set deleted_at = greatest(remove.at, c.created_at), updated_at = greatest(remove.at, c.created_at)
        where c.id = removed::bigint and c.tenant = remove.tenant;
    end loop;
    for removed in select * from jsonb_array_elements(changes -> 'freed_emails') loop
        delete from bitespeed.identifier i
        where i.tenant = remove.tenant and i.kind = 'email' and i.value = removed #>> '{}';
    end loop;
    for removed in select * from jsonb_array_elements(changes -> 'freed_phones') loop
        delete from bitespeed.identifier i
        where i.tenant = remove.tenant and i.kind = 'phone' and i.value = removed #>> '{}';
    end loop;
    if changes -> 'erasure' <> 'null' then
        perform bitespeed.erase(remove.tenant, changes -> 'erasure', remove.at);
    end if;
end
$$;
