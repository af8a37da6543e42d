-- Facts and events, to explain identities. `cross join` makes the planner use the keys.

-- name: facts
-- Of the wanted values and contacts, as arrays of the fields of `Fact`; null where there are more than the
-- limit. As of an instant, unless that is null: then nobody had given up a value that was given up later.
with wanted as materialized (
    select 'email' as kind, e.value from json_each(:emails) e
    union all
    select 'phone', p.value from json_each(:phones) p
),
named (contact, event) as materialized (
    select * from (
        select c.id, null
        from wanted w
        cross join contact_record c on c.tenant = :tenant and c.email = w.value and c.id <> c.identity_id
        where w.kind = 'email'
        limit :limit + 1)
    union
    select * from (
        select c.id, null
        from wanted w
        cross join contact_record c on c.tenant = :tenant and c.phone = w.value and c.id <> c.identity_id
        where w.kind = 'phone'
        limit :limit + 1)
    union
    select c.id, null
    from wanted w
    cross join identifier i on i.tenant = :tenant and i.kind = w.kind and i.value = w.value
    cross join contact_record c on c.id = i.identity_id
    where w.value in (c.email, c.phone)
    union
    select * from (
        select c.id, null
        from wanted w
        cross join contact_record c on c.tenant = :tenant and c.email = w.value and c.deleted_at is not null
        where w.kind = 'email'
        limit :limit + 1)
    union
    select * from (
        select c.id, null
        from wanted w
        cross join contact_record c on c.tenant = :tenant and c.phone = w.value and c.deleted_at is not null
        where w.kind = 'phone'
        limit :limit + 1)
    union
    select c.id, null
    from json_each(:contacts) w
    cross join contact_record c on c.id = w.value and c.tenant = :tenant
    union
    select * from (
        select null, e.seq
        from wanted w
        cross join event_record e on e.value = w.value and e.kind_of_value = w.kind and e.tenant = :tenant
        limit :limit + 1)
    union
    select * from (
        select null, e.seq
        from wanted w
        cross join event_record e on e.other = w.value and e.kind_of_other = w.kind and e.tenant = :tenant
        limit :limit + 1)
),
fact (number, at, identity, contact, kind, value, until, other_kind, other, other_until, source, label, anchor,
      created_at, deleted_at) as (
    select c.number, c.at, c.identity_id, c.id, 'email', c.email, c.email_until, 'phone', c.phone, c.phone_until,
           c.source, c.label, c.anchor, c.created_at, c.deleted_at
    from named
    cross join contact_record c on c.id = named.contact and c.number is not null
    union all
    select e.seq, e.at, e.identity_id, c.id, 'email', c.email, c.email_until, 'phone', c.phone, c.phone_until,
           e.source, e.label, c.anchor, c.created_at, c.deleted_at
    from named
    cross join contact_record c on c.id = named.contact and c.number is null
    cross join event_record e on e.identity_id = c.identity_id and e.contact_id = c.id and e.kind = 'contact.adopted'
    union all
    select e.seq, e.at, e.identity_id, null, e.kind_of_value, e.value, e.value_until, e.kind_of_other, e.other,
           e.other_until, e.source, e.label, null, 0, null
    from named
    cross join event_record e on e.seq = named.event
)
select case when (select count(*) from named) <= :limit then (
    select json_group_array(json_array(
               number, at, identity, contact,
               case when value is not null then json_array(kind, value, case
                   when :as_of is null or (select e.at from event_record e where e.seq = f.until) <= :as_of then f.until end) end,
               case when other is not null then json_array(other_kind, other, case
                   when :as_of is null or (select e.at from event_record e where e.seq = f.other_until) <= :as_of then f.other_until end) end,
               source, label, anchor, created_at, deleted_at))
    from fact f
    where :as_of is null or at <= :as_of) end;

-- name: history
-- The events of a contact's identity behind a number, in order.
with family as (
    select f.id
    from contact_record c
    cross join identity born on born.id = c.identity_id
    cross join identity f on f.root_id = born.root_id
    where c.id = :contact and c.tenant = :tenant
),
page (seq, created) as (
    select e.seq, e.contact_id from family cross join creation e on e.identity_id = family.id where e.seq > :after
    union all
    select e.seq, null from family cross join event_record e on e.identity_id = family.id where e.seq > :after
    order by 1
    limit :limit
)
select json_group_array(json(fields))
from (select iif(page.created is null,
                 (select h.fields from happening h where h.seq = page.seq),
                 (select h.fields from creation_happening h where h.contact_id = page.created)) as fields
      from page
      order by page.seq);

-- name: merges
-- The merges of a tenant before a number, newest first.
select json_group_array(json(fields))
from (select h.fields
      from happening h
      where h.tenant = :tenant and h.kind = 'identities.merged' and h.seq < :before and h.at >= :since
      order by h.seq desc
      limit :limit);

-- name: partners
-- With how many others each value was seen together, counted up to a limit; of what somebody has now. The
-- plus keeps the planner from an index on the other value.
select (select count(*)
        from (select distinct partner.kind, partner.value
              from (select 'phone' as kind, c.phone as value
                    from contact_record c
                    where c.tenant = :tenant and c.email = w.value ->> 1 and w.value ->> 0 = 'email'
                      and c.id <> c.identity_id and c.email_until is null and c.phone_until is null
                    union all
                    select 'email', c.email
                    from contact_record c
                    where c.tenant = :tenant and c.phone = w.value ->> 1 and w.value ->> 0 = 'phone'
                      and c.id <> c.identity_id and c.email_until is null and c.phone_until is null
                    union all
                    select iif(i.kind = 'email', 'phone', 'email'), iif(i.kind = 'email', c.phone, c.email)
                    from identifier i
                    cross join contact_record c on c.id = i.identity_id
                    where i.tenant = :tenant and i.kind = w.value ->> 0 and i.value = w.value ->> 1
                      and iif(i.kind = 'email', c.email, c.phone) = i.value
                      and c.email_until is null and c.phone_until is null
                    union all
                    select 'phone', c.phone
                    from contact_record c
                    where c.tenant = :tenant and c.email = w.value ->> 1 and w.value ->> 0 = 'email'
                      and c.deleted_at is not null and c.email_until is null and c.phone_until is null
                    union all
                    select 'email', c.email
                    from contact_record c
                    where c.tenant = :tenant and c.phone = w.value ->> 1 and w.value ->> 0 = 'phone'
                      and c.deleted_at is not null and c.email_until is null and c.phone_until is null
                    union all
                    select e.kind_of_other, e.other
                    from event_record e
                    where e.value = w.value ->> 1 and e.kind_of_value = w.value ->> 0 and e.tenant = :tenant
                      and e.value_until is null and e.other_until is null
                    union all
                    select e.kind_of_value, e.value
                    from event_record e
                    where e.other = w.value ->> 1 and e.kind_of_other = w.value ->> 0 and e.tenant = :tenant
                      and e.value_until is null and e.other_until is null) partner
              where +partner.value is not null
              limit :limit))
from json_each(:values) w
order by w.key;
