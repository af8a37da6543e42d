-- The events of every tenant behind a number; the columns are those of `EventRecord`.
select * from (select * from creation where seq > :after order by seq limit :limit)
union all
select * from (select * from event_record where seq > :after order by seq limit :limit)
order by seq
limit :limit
