-- The events of every tenant behind a number; the columns are those of `EventRecord`.
select e.*
from event e
where e.seq > :after
order by e.seq
limit :limit
