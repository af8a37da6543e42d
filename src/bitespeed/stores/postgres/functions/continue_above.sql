-- Let a sequence go on with the first of its numbers above `floor`, and never with one that it has given
-- out before, if only to a commit that failed. Its numbers leave the same remainder as its start when
-- divided by its step, see `set_id_step`. Returns the next number.
create or replace function bitespeed.continue_above(sequence regclass, floor bigint)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    step  bigint;
    start bigint;
    given bigint;
begin
    select s.seqincrement, s.seqstart into step, start from pg_sequence s where s.seqrelid = continue_above.sequence;
    execute format('select case when is_called then last_value else last_value - %s end from %s', step, sequence)
    into given;
    given := greatest(given, continue_above.floor);
    return setval(sequence, start + greatest(0, (given - start + step) / step) * step, false);
end
$$;
