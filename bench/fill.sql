-- A database of :contacts contacts (a multiple of ten) as the service would have written it.
--
-- Contact n says email n and phone n. Of ten contacts six are persons of their own, the 7th and
-- the 8th were joined by a request with the email of one and the phone of the other, and the
-- 10th brought a new email to the phone of the 9th. They came a millisecond apart, from :began on.

insert into identity (id, tenant, root_id, primary_id, primary_at, contacts, version, relabelled_at)
with recursive series(n) as (select 1 union all select n + 1 from series where n < :contacts)
select n, :tenant, iif(n % 10 = 8, n - 1, n), n, :began + n * 1000,
       iif(n % 10 in (7, 9), 2, 1), iif(n % 10 in (7, 8, 9), 2, 1), iif(n % 10 = 8, :began + n * 1000, null)
from series
where n % 10 <> 0;

insert into contact_record (
    id, tenant, identity_id, email, phone, created_at, updated_at, number, at, version, primary_id)
with recursive series(n) as (select 1 union all select n + 1 from series where n < :contacts)
select n, :tenant, iif(n % 10 = 0, n - 1, n),
       'c' || (:first + n) || '@example.com', :first + iif(n % 10 = 0, n - 1, n),
       :began + n * 1000, :began + n * 1000,
       n / 10 * 11 + n % 10 + (n % 10 = 9), :began + n * 1000, iif(n % 10 = 0, 2, 1), iif(n % 10 = 0, n - 1, null)
from series;

insert into identifier (tenant, kind, value, identity_id)
with recursive series(n) as (select 1 union all select n + 1 from series where n < :contacts)
select :tenant, 'email', 'c' || (:first + n) || '@example.com', iif(n % 10 = 0, n - 1, n)
from series;

insert into identifier (tenant, kind, value, identity_id)
with recursive series(n) as (select 1 union all select n + 1 from series where n < :contacts)
select :tenant, 'phone', :first + n, n
from series
where n % 10 <> 0;

-- Eleven events for ten contacts: the 9th is the merge.
insert into event_record (
    seq, tenant, at, kind, identity_id, version, merged_id, primary_id,
    kind_of_value, value, kind_of_other, other, merged_primary_id, size, merged_size)
with recursive series(n) as (select 8 union all select n + 10 from series where n + 10 < :contacts)
select n / 10 * 11 + 9, :tenant, :began + n * 1000, 'identities.merged', n - 1, 2, n, n - 1,
       'email', 'c' || (:first + n - 1) || '@example.com', 'phone', :first + n, n, 1, 1
from series;

update sqlite_sequence
set seq = :contacts / 10 * 11
where name = 'event_record';
