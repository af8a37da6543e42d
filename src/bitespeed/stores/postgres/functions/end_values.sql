-- Mark the facts about values that the changes free as over by the event that was added last: they are
-- not about whoever brings such a value again. A part of `commit`.
create or replace function bitespeed.end_values(tenant text, changes jsonb)
returns void
language plpgsql volatile
as $$
declare
    last   bigint := currval('bitespeed.event_seq_seq');
    freed  record;
begin
    for freed in
        select 'email' as kind, v #>> '{}' as value from jsonb_array_elements(changes -> 'freed_emails') as e (v)
        union all
        select 'phone', v #>> '{}' from jsonb_array_elements(changes -> 'freed_phones') as p (v)
    loop
        -- Of deleted contacts, since no live one has the value.
        update bitespeed.contact_record c
        set email_until = last
        where c.tenant = end_values.tenant and freed.kind = 'email' and c.email = freed.value
          and c.deleted_at is not null and c.email_until is null;
        update bitespeed.contact_record c
        set phone_until = last
        where c.tenant = end_values.tenant and freed.kind = 'phone' and c.phone = freed.value
          and c.deleted_at is not null and c.phone_until is null;
        update bitespeed.event_record e
        set value_until = last
        where e.tenant = end_values.tenant and e.kind_of_value = freed.kind and e.value = freed.value
          and e.value_until is null;
        update bitespeed.event_record e
        set other_until = last
        where e.tenant = end_values.tenant and e.kind_of_other = freed.kind and e.other = freed.value
          and e.other_until is null;
    end loop;
end
$$;
