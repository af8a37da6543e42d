-- The pairs of values that were seen together in an identity and that none of its live contacts shows,
-- as far as somebody still has both: [[kind, value, other kind, other value]]; a part of `read`.
create or replace function bitespeed.pairs_beside(tenant text, root bigint)
returns json
language plpgsql stable
as $$
begin
    return (
        select coalesce(json_agg(json_build_array(p.kind, p.value, p.kind_of_other, p.other)), '[]')
        from (select f.id from bitespeed.family(pairs_beside.tenant, root) as f (id) offset 0) as born,
             lateral (select e.kind_of_value, e.value, e.kind_of_other, e.other
                      from bitespeed.event_record e
                      where e.identity_id = born.id and e.value is not null and e.value_until is null
                        and e.other_until is null and e.tenant = pairs_beside.tenant
                      union all
                      select 'email', c.email, 'phone', c.phone
                      from bitespeed.born_in(pairs_beside.tenant, born.id) as c
                      where c.deleted_at is not null and c.email is not null and c.phone is not null
                        and c.email_until is null and c.phone_until is null
                      offset 0) as p (kind, value, kind_of_other, other));
end
$$;
