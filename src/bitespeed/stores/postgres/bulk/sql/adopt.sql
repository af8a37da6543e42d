-- Adopting a table. Temporary tables stage everything before it is written: `adopting` has the rows in
-- canonical form, `adopting_member` the identity of each row, `adopting_identity` the identities.

-- name: limits
-- For this transaction alone. It may run long, but waits for a lock only briefly, since all readers
-- of the table wait behind it. An instant without a zone is one of the zone set here.
select set_config('statement_timeout', '0', true),
       set_config('idle_in_transaction_session_timeout', '0', true),
       set_config('lock_timeout', %(lock_timeout)s, true),
       set_config('search_path', 'pg_catalog, pg_temp', true),
       set_config('work_mem', '64MB', true),
       set_config('bitespeed.tenant', '*', true),
       set_config('TimeZone', coalesce(%(zone)s, current_setting('TimeZone')), true)

-- name: lock
lock table {table} in access exclusive mode

-- name: lock_own_tables
-- In the order in which a commit that creates an identity locks them, so that neither waits for the
-- other for ever.
lock table bitespeed.identifier, bitespeed.contact_record, bitespeed.identity, bitespeed.event_record
in share row exclusive mode

-- name: all_rows
-- Fail if row level security would hide rows of the table to adopt.
set local row_security = off

-- name: own_tables
-- Row level security of the service's own tables stays in force.
set local row_security = on

-- name: is_empty
select not exists (select 1 from bitespeed.contact_record)
   and not exists (select 1 from bitespeed.identity)
   and not exists (select 1 from bitespeed.identifier)
   and not exists (select 1 from bitespeed.event_record)

-- name: extent
select count(*),
       (extract(epoch from coalesce(min({createdat}::timestamptz) filter (where isfinite({createdat})),
                                    now())) * 1000000)::bigint
from {table}

-- name: rows
-- An infinite instant counts as missing.
select {id}::bigint, {linkedid}::bigint, {linkprecedence}::text, {email}::text, {phonenumber}::text,
       (extract(epoch from case when isfinite({createdat}) then {createdat}::timestamptz end) * 1000000)::bigint,
       (extract(epoch from case when isfinite({updatedat}) then {updatedat}::timestamptz end) * 1000000)::bigint,
       (extract(epoch from case when isfinite({deletedat}) then {deletedat}::timestamptz end) * 1000000)::bigint,
       {deletedat} is not null
from {table}
order by {id}

-- name: create_staging
create temporary table adopting (
    place      integer not null, -- in the order of ids
    id         bigint  not null,
    linked_id  bigint,
    precedence text,
    email      text    collate "C",
    phone      text    collate "C",
    raw_email  text    collate "C",
    raw_phone  text    collate "C",
    created_at bigint  not null,
    updated_at bigint  not null,
    deleted_at bigint
) on commit drop

-- name: create_members
create temporary table adopting_member (
    id          bigint not null,
    identity_id bigint not null
) on commit drop

-- name: stage
copy pg_temp.adopting from stdin

-- name: staged
analyze pg_temp.adopting

-- name: linked
select one.place, other.place
from pg_temp.adopting one
join pg_temp.adopting other on other.id = one.linked_id
order by one.place

-- name: lost
select id, linked_id
from pg_temp.adopting one
where linked_id is not null
  and not exists (select 1 from pg_temp.adopting other where other.id = one.linked_id)
order by id

-- name: shared
-- Each live contact with a value that an older live contact has too, and the oldest of these.
select place, oldest, kind
from (select place, kind, first_value(place) over (partition by kind, value order by created_at, place) as oldest
      from pg_temp.adopting
      cross join lateral (values ('email', email), ('phone', phone)) as v (kind, value)
      where deleted_at is null and value is not null) as carried
where oldest <> place
order by place, kind

-- name: members
copy pg_temp.adopting_member from stdin

-- name: identities
create temporary table adopting_identity on commit drop as
select m.identity_id as id, oldest.id as primary_id, oldest.created_at as primary_at, count(a.id) as contacts
from pg_temp.adopting_member m
left join pg_temp.adopting a on a.id = m.id and a.deleted_at is null
left join (select distinct on (m.identity_id) m.identity_id, a.id, a.created_at
           from pg_temp.adopting a
           join pg_temp.adopting_member m on m.id = a.id
           where a.deleted_at is null
           order by m.identity_id, a.created_at, a.id) as oldest on oldest.identity_id = m.identity_id
group by m.identity_id, oldest.id, oldest.created_at

-- name: roles
-- Contacts that the view shows in another role, or with another primary, than the table did, and why.
select a.id, i.primary_id,
       case when i.primary_id is null then 'released'
            when a.precedence is null then 'unnamed'
            when i.primary_id = a.id and a.precedence = 'primary' then 'unlinked'
            when i.primary_id = a.id then 'promoted'
            when a.precedence = 'primary' then 'demoted'
            when target.id is null or target.id = a.id then 'linked'
            when target.precedence is distinct from 'primary' or target.linked_id is not null then 'chain'
            else 'relinked'
       end
from pg_temp.adopting a
join pg_temp.adopting_member m on m.id = a.id
join pg_temp.adopting_identity i on i.id = m.identity_id
left join pg_temp.adopting target on target.id = a.linked_id
where a.linked_id is distinct from nullif(i.primary_id, a.id)
   or a.precedence is distinct from case when coalesce(i.primary_id, a.id) = a.id then 'primary' else 'secondary' end
order by a.id

-- name: totals
select (select count(*) from pg_temp.adopting),
       (select count(*) from pg_temp.adopting where deleted_at is not null),
       (select count(*) from pg_temp.adopting_identity),
       (select max(id) from pg_temp.adopting)

-- name: write_contacts
insert into bitespeed.contact_record (
    id, tenant, identity_id, email, phone, raw_email, raw_phone, created_at, updated_at, deleted_at)
select a.id, %(tenant)s, m.identity_id, a.email, a.phone, a.raw_email, a.raw_phone, a.created_at, a.updated_at,
       a.deleted_at
from pg_temp.adopting a
join pg_temp.adopting_member m on m.id = a.id
order by a.id

-- name: write_identities
insert into bitespeed.identity (id, tenant, root_id, primary_id, primary_at, contacts, version)
select id, %(tenant)s, id, primary_id, primary_at, contacts, 1
from pg_temp.adopting_identity
order by id

-- name: write_identifiers
-- Violates the primary key if two identities have the same value.
insert into bitespeed.identifier (tenant, kind, value, identity_id)
select distinct %(tenant)s, v.kind, v.value, m.identity_id
from pg_temp.adopting a
join pg_temp.adopting_member m on m.id = a.id
cross join lateral (values ('email', a.email), ('phone', a.phone)) as v (kind, value)
where a.deleted_at is null and v.value is not null
order by 2, 3

-- name: write_events
-- A link between two contacts without a common value becomes a pair of the values that they go with. A
-- contact that was deleted before gets an event of that too, so that the feed is complete.
with member as (
    select a.id, a.linked_id, a.deleted_at, m.identity_id, a.email, a.phone,
           case when a.email is null then 'phone' else 'email' end as kind, coalesce(a.email, a.phone) as value
    from pg_temp.adopting a
    join pg_temp.adopting_member m on m.id = a.id
), link as (
    select distinct on (one.identity_id, v.kinds, v.pair) one.id, one.identity_id, v.kinds, v.pair
    from member one
    join member other on other.id = one.linked_id and other.identity_id = one.identity_id
    cross join lateral (
        select array_agg(p.kind order by p.kind, p.value) as kinds, array_agg(p.value order by p.kind, p.value) as pair
        from (values (one.kind, one.value), (other.kind, other.value)) as p (kind, value)) as v
    where one.value is not null and other.value is not null
      and (one.email = other.email or one.phone = other.phone) is not true
    order by one.identity_id, v.kinds, v.pair, one.id
), written (step, kind, identity_id, id, contact_id, kinds, pair) as (
    select 1, 'contact.adopted', identity_id, id, id, null::text[], null::text[] from member
    union all
    select 2, 'pair.seen', identity_id, id, null, kinds, pair from link
    union all
    select 3, 'contact.deleted', identity_id, id, id, null, null from member where deleted_at is not null
)
insert into bitespeed.event_record (
    seq, tenant, at, kind, identity_id, version, contact_id, kind_of_value, value, kind_of_other, other)
select %(next)s + %(step)s * (row_number() over (order by step, id) - 1), %(tenant)s,
       (extract(epoch from now()) * 1000000)::bigint, kind, identity_id, 1, contact_id,
       kinds[1], pair[1], kinds[2], pair[2]
from written

-- name: end_values
-- Values of deleted contacts that no live one of their identity has: the last deletion of a contact with
-- the value freed it. Another identity may have the value by now.
with deleted as materialized (
    select c.id, c.identity_id, v.kind, v.value, e.seq
    from bitespeed.contact_record c
    join bitespeed.event_record e on e.contact_id = c.id and e.kind = 'contact.deleted'
    cross join lateral (values ('email', c.email), ('phone', c.phone)) as v (kind, value)
    where c.deleted_at is not null and v.value is not null
), freed as materialized (
    select d.id, d.identity_id, d.kind, d.value, max(d.seq) over (partition by d.identity_id, d.kind, d.value) as seq
    from deleted d
    where not exists (
        select 1 from bitespeed.identifier i
        where i.kind = d.kind and i.value = d.value and i.identity_id = d.identity_id)
), pairs as (
    update bitespeed.event_record e
    set value_until = one.seq, other_until = other.seq
    from bitespeed.event_record p
    left join (select distinct identity_id, kind, value, seq from freed) as one
        on one.identity_id = p.identity_id and one.kind = p.kind_of_value and one.value = p.value
    left join (select distinct identity_id, kind, value, seq from freed) as other
        on other.identity_id = p.identity_id and other.kind = p.kind_of_other and other.value = p.other
    where p.seq = e.seq and p.kind = 'pair.seen' and (one.seq is not null or other.seq is not null)
), ends as (
    select f.id, max(f.seq) filter (where f.kind = 'email') as email, max(f.seq) filter (where f.kind = 'phone') as phone
    from freed f
    group by f.id
)
update bitespeed.contact_record c
set email_until = ends.email, phone_until = ends.phone
from ends
where c.id = ends.id

-- name: sequences
-- The next contact id, the next event number, and the step of both.
select (select last_value + case when is_called then s.seqincrement else 0 end from bitespeed.contact_id),
       (select last_value + case when is_called then s.seqincrement else 0 end from bitespeed.event_seq_seq),
       s.seqincrement
from pg_sequence s
where s.seqrelid = 'bitespeed.contact_id'::regclass

-- name: restart
-- setval would stay in force after a rollback.
alter sequence {sequence} restart with {next}

-- name: written
analyze bitespeed.identity, bitespeed.contact_record, bitespeed.identifier, bitespeed.event_record

-- name: rename
alter table {table} rename to adopted_contact

-- name: move
alter table {renamed} set schema bitespeed

-- name: remark
comment on table bitespeed.adopted_contact is {remark}

-- name: create_view
-- With the order, spelling and types of the table's columns. A value that is neither an email nor a
-- phone number is shown as it was.
create view {view} as
select {columns}
from (select c.id, coalesce(c.phonenumber, r.raw_phone) as phonenumber, coalesce(c.email, r.raw_email) as email,
             c.linkedid, c.linkprecedence,
             c.createdat at time zone 'UTC' as createdat,
             c.updatedat at time zone 'UTC' as updatedat,
             c.deletedat at time zone 'UTC' as deletedat
      from bitespeed.contact c
      join bitespeed.contact_record r on r.id = c.id
      where r.tenant = {tenant}) as contact

-- name: create_view_with_extra_columns
create view {view} as
select {columns}
from (select c.id, coalesce(c.phonenumber, r.raw_phone) as phonenumber, coalesce(c.email, r.raw_email) as email,
             c.linkedid, c.linkprecedence,
             c.createdat at time zone 'UTC' as createdat,
             c.updatedat at time zone 'UTC' as updatedat,
             c.deletedat at time zone 'UTC' as deletedat
      from bitespeed.contact c
      join bitespeed.contact_record r on r.id = c.id
      where r.tenant = {tenant}) as contact
left join bitespeed.adopted_contact kept on kept.{id} = contact.id

-- name: default_tenant
-- Readers of the view set no tenant, and row level security would show them nothing without one.
create or replace function bitespeed.default_tenant() returns text language sql stable return {tenant}

-- name: column
cast(contact.{plain} as {type}) as {name}

-- name: column_of_text
cast(contact.{plain} as {type}) collate {collation} as {name}

-- name: column_of_instant
-- Without a zone, as in the table: in the zone that it was written in.
cast(contact.{plain} at time zone {zone} as {type}) as {name}

-- name: column_kept
kept.{name}

-- name: type_with_size
{type}({size})

-- name: revoke
revoke all on {view} from {role}

-- name: grant
grant select on {view} to {role}

-- name: grant_on_column
grant select ({column}) on {view} to {role}

-- name: grant_with_option
grant select on {view} to {role} with grant option

-- name: grant_on_column_with_option
grant select ({column}) on {view} to {role} with grant option

-- name: drop_constraint
alter table {table} drop constraint {constraint}

-- name: replace_view
create or replace view {view} as

-- name: replace_view_with_options
create or replace view {view} with ({options}) as
