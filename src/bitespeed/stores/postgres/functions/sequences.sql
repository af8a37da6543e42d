-- Of each sequence the number that it gives out next, and the highest in use that it may have given out:
-- [[name, next, highest]]. Those of other servers, with other remainders, do not count: see `set_id_step`.
create or replace function bitespeed.sequences()
returns json
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config('bitespeed.tenant', '*', true);
    return (
        select json_agg(json_build_array(s.name, s.next, s.highest))
        from (select 'bitespeed.contact_id' as name,
                     n.last_value + case when n.is_called then s.seqincrement else 0 end as next,
                     (select max(c.id) from bitespeed.contact_record c
                      where (c.id - s.seqstart) % s.seqincrement = 0) as highest
              from bitespeed.contact_id n
              join pg_sequence s on s.seqrelid = 'bitespeed.contact_id'::regclass
              union all
              select 'bitespeed.event_seq_seq',
                     n.last_value + case when n.is_called then s.seqincrement else 0 end,
                     (select max(e.seq) from bitespeed.event e
                      where (e.seq - s.seqstart) % s.seqincrement = 0)
              from bitespeed.event_seq_seq n
              join pg_sequence s on s.seqrelid = 'bitespeed.event_seq_seq'::regclass) as s);
end
$$;
