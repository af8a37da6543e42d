-- The statements of a read, in one transaction, so that all is as of one instant. `cross join` and
-- `left join` make the planner use the unique keys; it must never scan a table.

-- name: stamps
-- The stamp of each wanted identity, in order; null if it is not live.
select json_group_array(i.stamp)
from json_each(:ids) wanted
left join identity i on i.id = wanted.value and i.root_id = i.id;

-- name: roots_of_emails
-- The identity of each wanted email, in order, or null.
select json_group_array(born.root_id)
from json_each(:values) wanted
left join identifier i on i.tenant = :tenant and i.kind = 'email' and i.value = wanted.value
left join identity born on born.id = i.identity_id;

-- name: roots_of_phones
select json_group_array(born.root_id)
from json_each(:values) wanted
left join identifier i on i.tenant = :tenant and i.kind = 'phone' and i.value = wanted.value
left join identity born on born.id = i.identity_id;

-- name: root_of_contact
select born.root_id
from contact_record c
join identity born on born.id = c.identity_id
where c.id = :contact and c.tenant = :tenant;

-- name: identities
-- Each identity as an array of the fields of `Identity`, each contact as one of `Contact`: decoding one
-- text takes less time than fetching rows. One with more than `max_members` comes without its contacts.
select json_group_array(json_array(
           r.id, r.version, r.stamp, r.primary_id, r.primary_at, r.contacts,
           (select json_group_array(json_array(c.id, c.created_at, c.email, c.phone))
            from identity born
            cross join contact_record c on c.identity_id = born.id
            where born.root_id = r.id and c.deleted_at is null and r.contacts <= :max_members),
           json(iif(r.contacts = 1 or r.contacts > :max_members, '[]', (
               select json_group_array(json_array(p.kind_of_value, p.value, p.kind_of_other, p.other))
               from (select e.kind_of_value, e.value, e.kind_of_other, e.other
                     from identity born
                     cross join event_record e on e.identity_id = born.id and e.value is not null
                     where born.root_id = r.id and e.value_until is null and e.other_until is null
                     union all
                     select 'email', c.email, 'phone', c.phone
                     from identity born
                     cross join contact_record c on c.identity_id = born.id
                     where born.root_id = r.id and c.deleted_at is not null
                       and c.email is not null and c.phone is not null
                       and c.email_until is null and c.phone_until is null) as p)))))
from json_each(:ids) wanted
cross join identity r on r.id = wanted.value
where r.contacts > 0;

-- name: identities_without_members
select json_group_array(json_array(r.id, r.version, r.stamp, r.primary_id, r.primary_at, r.contacts))
from json_each(:ids) wanted
cross join identity r on r.id = wanted.value
where r.contacts > 0;
