-- Write the new values of new contacts, which have these ids; a part of `commit`. Raises SQLSTATE 23505 when
-- one has been taken; waits for whoever is about to take or to free one.
create or replace function bitespeed.add_identifiers(tenant text, contacts jsonb, ids bigint[])
returns void
language plpgsql volatile
as $$
begin
    -- In the order of the key, so that commits cannot wait for each other in a ring. Not `on conflict
    -- do nothing`, which looks each key up once more and logs each row twice.
    begin
        insert into bitespeed.identifier (tenant, kind, value, identity_id)
        select add_identifiers.tenant, v.kind, v.value, case when v.identity < 0 then ids[-v.identity] else v.identity end
        from (select 'email' as kind, c ->> 1 as value, (c ->> 0)::bigint as identity
              from jsonb_array_elements(contacts) as n (c)
              where (c -> 5)::boolean
              union all
              select 'phone', c ->> 2, (c ->> 0)::bigint
              from jsonb_array_elements(contacts) as n (c)
              where (c -> 6)::boolean) as v
        order by v.value collate "C", v.kind collate "C";
    exception when unique_violation then
        -- The database's own error would quote the value.
        raise unique_violation using message = 'a new value has been taken since it was read';
    end;
end
$$;
