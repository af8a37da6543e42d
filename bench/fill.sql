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

insert into contact_record (id, tenant, identity_id, email, phone, created_at, updated_at)
with recursive series(n) as (select 1 union all select n + 1 from series where n < :contacts)
select n, :tenant, iif(n % 10 = 0, n - 1, n),
       'c' || (:first + n) || '@example.com', :first + iif(n % 10 = 0, n - 1, n),
       :began + n * 1000, :began + n * 1000
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
insert into event (
    seq, tenant, at, kind, identity_id, version, contact_id, merged_id, primary_id,
    kind_of_value, value, kind_of_other, other, merged_primary_id, size, merged_size)
with recursive
    series(seq) as (select 1 union all select seq + 1 from series where seq < :contacts / 10 * 11),
    event_number(seq, nth, n) as (
        select seq, (seq - 1) % 11 + 1,
               (seq - 1) / 11 * 10 + (seq - 1) % 11 + 1 - ((seq - 1) % 11 >= 8)
        from series)
select seq, :tenant, :began + n * 1000,
       iif(nth = 9, 'identities.merged', 'contact.created'),
       iif(nth in (9, 11), n - 1, n),
       iif(nth in (9, 11), 2, 1),
       iif(nth = 9, null, n),
       iif(nth = 9, n, null),
       iif(nth in (9, 11), n - 1, null),
       iif(nth = 9, 'email', null),
       iif(nth = 9, 'c' || (:first + n - 1) || '@example.com', null),
       iif(nth = 9, 'phone', null),
       iif(nth = 9, :first + n, null),
       iif(nth = 9, n, null),
       iif(nth = 9, 1, null),
       iif(nth = 9, 1, null)
from event_number;
