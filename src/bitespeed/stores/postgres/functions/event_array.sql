-- An event as an array of the fields of the Python struct `EventRecord`, behind the root that it leads to.
-- The planner puts it in the place of its call.
create or replace function bitespeed.event_array(root bigint, e bitespeed.event)
returns json
language sql stable
as $$
    select json_build_array(
        root, e.seq, e.tenant, e.at, e.kind, e.identity_id, e.version, e.contact_id, e.merged_id, e.primary_id,
        e.kind_of_value, e.value, e.kind_of_other, e.other, e.raw_value, e.raw_other, e.country, e.value_until,
        e.other_until, e.source, e.request, e.label, e.merged_primary_id, e.size, e.merged_size)
$$;
