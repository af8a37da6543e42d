-- An event as an array of the fields of the Python struct `Happening`, one that created a contact with the
-- values of that; `c` is null for others. The planner puts it in the place of its call.
create or replace function bitespeed.happening(e bitespeed.event, c bitespeed.contact_record)
returns json
language sql stable
as $$
    select json_build_array(
        e.seq, e.at, e.kind, e.identity_id, e.contact_id, e.merged_id, e.primary_id,
        coalesce(e.kind_of_value, case when c.email is not null then 'email' end), coalesce(e.value, c.email),
        coalesce(e.kind_of_other, case when c.phone is not null then 'phone' end), coalesce(e.other, c.phone),
        e.source, e.label, e.merged_primary_id, e.size, e.merged_size)
$$;
