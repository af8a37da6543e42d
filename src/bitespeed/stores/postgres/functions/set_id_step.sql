-- Give out contact ids and event numbers that leave the remainder `shift` when divided by `step`, so that
-- the servers of one installation never give out the same one. The numbers go on above the highest so
-- far. For the owner of the schema; see docs/postgres.md.
create or replace function bitespeed.set_id_step(step integer, shift integer)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    name  regclass;
    given bigint;
    start bigint := case when shift = 0 then step else shift end;
begin
    if step < 1 or shift < 0 or shift >= step then
        raise invalid_parameter_value using message = 'the step must be at least 1 and the shift from 0 to step - 1';
    end if;
    foreach name in array array['bitespeed.contact_id', 'bitespeed.event_seq_seq']::regclass[] loop
        execute format('select case when is_called then last_value else 0 end from %s', name) into given;
        -- In two steps: `restart` would begin anew at the start.
        execute format('alter sequence %s increment by %s start with %s', name, step, start);
        execute format('alter sequence %s restart with %s', name,
                       start + greatest(0, (given - start + step) / step) * step);
    end loop;
end
$$;
