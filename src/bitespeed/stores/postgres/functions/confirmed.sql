-- Of the identities [id, version] that a caller remembers, the ids of those that still live at that
-- version; a part of `read`.
create or replace function bitespeed.confirmed(tenant text, remembered jsonb)
returns bigint[]
language plpgsql stable
as $$
begin
    return array(
        select known.id
        from (select (r ->> 0)::bigint as id, (r ->> 1)::integer as version
              from jsonb_array_elements(remembered) as r
              offset 0) as known
        where known.version = (
            select i.version
            from bitespeed.identity i
            where i.id = known.id and i.root_id = i.id and i.tenant = confirmed.tenant));
end
$$;
