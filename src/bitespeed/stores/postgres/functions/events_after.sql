-- The events of every tenant after a position and before a transaction, by transaction and number, up to a
-- limit: the one reader of the feed, a part of `events` and `cache_feed`. Numbers are given out before
-- commits, so a number below those that were read may still come; a transaction that has ended brings no
-- more. `unpublished` leaves out those that their writers have published to the cache themselves.
create or replace function bitespeed.events_after(
    transaction xid8, number bigint, before xid8, unpublished boolean, max_events integer)
returns setof bitespeed.event
language plpgsql stable
as $$
begin
    if unpublished then
        return query
            select e.* from bitespeed.event e
            where not e.is_published and (e.xact, e.seq) > (events_after.transaction, events_after.number)
              and e.xact < events_after.before
            order by e.xact, e.seq
            limit max_events;
    else
        return query
            select e.* from bitespeed.event e
            where (e.xact, e.seq) > (events_after.transaction, events_after.number) and e.xact < events_after.before
            order by e.xact, e.seq
            limit max_events;
    end if;
end
$$;
