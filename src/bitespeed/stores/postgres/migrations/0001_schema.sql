-- Instants are microseconds since 1970, UTC. An identity is called after its first contact.
-- Texts compare by their bytes: the order of keys is nobody's language.

create table bitespeed.identity (
    id         bigint  primary key,
    tenant     text    not null collate "C",
    root_id    bigint  not null,  -- itself while it lives, else the identity it was merged into
    primary_id bigint,            -- its oldest live contact; null when all are deleted
    primary_at bigint,
    contacts   integer not null,  -- live contacts of all identities with this root
    version    integer not null,
    -- Drawn anew by every change. After a restore or a failover that lost commits a version comes twice,
    -- a stamp does not: see docs/decisions/0026-stamps.md.
    stamp      bigint  not null default (random() * 9007199254740992)::bigint,
    relabelled_at bigint          -- when its root or primary last changed; null: never
);

create index identity_root on bitespeed.identity (root_id);

-- A fact: its values, as they were first seen. The row does not change when identities merge.
create table bitespeed.contact_record (
    id          bigint primary key,
    tenant      text   not null collate "C",
    identity_id bigint not null,  -- the identity it was born in, for ever
    email       text   collate "C",
    phone       text   collate "C",
    raw_email   text   collate "C",  -- as sent, where that differs
    raw_phone   text   collate "C",
    created_at  bigint not null,
    updated_at  bigint not null,
    deleted_at  bigint,
    country     text   collate "C",  -- of a phone number that was sent without a country code
    email_until bigint,              -- the event after which nobody had the value any more: who
    phone_until bigint,              -- brings it again is somebody else
    anchor      text   collate "C"   -- the kind of the value it goes with, if that is not its email
);

create index contact_record_identity on bitespeed.contact_record (identity_id);
-- The first contact of an identity is found by its id.
create index contact_record_email on bitespeed.contact_record (email, tenant) where id <> identity_id and email is not null;
create index contact_record_phone on bitespeed.contact_record (phone, tenant) where id <> identity_id and phone is not null;
create index contact_record_deleted_email on bitespeed.contact_record (email, tenant) where deleted_at is not null and email is not null;
create index contact_record_deleted_phone on bitespeed.contact_record (phone, tenant) where deleted_at is not null and phone is not null;

create sequence bitespeed.contact_id as bigint owned by bitespeed.contact_record.id;

-- Two identities cannot share a value, whatever the code does.
create table bitespeed.identifier (
    tenant      text   not null collate "C",
    kind        text   not null collate "C" check (kind in ('email', 'phone')),
    value       text   not null collate "C",
    identity_id bigint not null,
    -- The value decides nearly every comparison, so it comes first. The identity is found without a
    -- look at the row.
    primary key (value, kind, tenant) include (identity_id)
);

create table bitespeed.event (
    seq         bigint  generated always as identity primary key,
    -- Numbers are given out before commits: a reader of the feed keeps behind the oldest running
    -- transaction, not behind the highest number.
    xact        xid8    not null default pg_current_xact_id(),
    is_published boolean not null default false,  -- to the cache, by its writer
    tenant      text    not null collate "C",
    at          bigint  not null,
    kind        text    not null collate "C",
    identity_id bigint  not null,
    version     integer not null,  -- of that identity, after the event
    contact_id  bigint,
    merged_id   bigint,            -- the identity that a merge ended
    primary_id  bigint,            -- afterwards; null where that is the contact
    -- A fact that no contact says: two values seen together. As in contact_record otherwise.
    kind_of_value text  collate "C",
    value         text  collate "C",
    kind_of_other text  collate "C",
    other         text  collate "C",
    raw_value     text  collate "C",
    raw_other     text  collate "C",
    country       text  collate "C",
    value_until   bigint,
    other_until   bigint,
    source      text    collate "C",  -- the id of an API key, cli, queue, import:NAME
    request     text    collate "C",
    label       text    collate "C",  -- in the caller's words
    -- Of a merge: the younger of the two primary contacts, and the contacts of the older's identity
    -- and of the younger's before it.
    merged_primary_id bigint,
    size              integer,
    merged_size       integer
);

create index event_merge on bitespeed.event (tenant, seq) where kind = 'identities.merged';

-- See the function `events_after`.
create index event_transaction on bitespeed.event (xact, seq);
create index event_unpublished on bitespeed.event (xact, seq) where not is_published;

-- The events of one identity are read without a walk through everybody's.
create index event_identity on bitespeed.event (identity_id, contact_id);
-- Of the pairs in force; a condition on a value alone does not lead the planner here.
create index event_pair on bitespeed.event (identity_id)
where value is not null and value_until is null and other_until is null;
create index event_value on bitespeed.event (value, kind_of_value, tenant) where value is not null;
create index event_other on bitespeed.event (other, kind_of_other, tenant) where other is not null;

-- Whether answers are cached elsewhere, and in which epoch. One row.
--
-- In an epoch every writer fences in the cache what it is about to change. A writer that cannot do
-- so suspends the cache: another epoch begins, in which nobody uses the cache. A process that has not
-- read the new epoch may use the cache until its licence lapses, so commits are admitted only then.
create table bitespeed.cache (
    is_only      boolean     primary key default true check (is_only),
    epoch        text        collate "C",  -- null until a cache is used for the first time
    incarnation  text,                     -- of the database in which it began, see the function
    is_suspended boolean     not null default false,
    since        timestamptz not null default clock_timestamp(),
    until        timestamptz not null default clock_timestamp(),  -- suspended at least so long
    began_at     xid8        not null default pg_snapshot_xmin(pg_current_snapshot()),  -- see cache_feed
    secret       text        not null default gen_random_uuid()::text || gen_random_uuid()::text
);

insert into bitespeed.cache default values;

-- The published shape.
create view bitespeed.contact as
select c.id,
       c.phone as phonenumber,
       c.email,
       nullif(r.primary_id, c.id) as linkedid,
       case when coalesce(r.primary_id, c.id) = c.id then 'primary' else 'secondary' end as linkprecedence,
       timestamp '1970-01-01' + c.created_at * interval '1 microsecond' as createdat,
       timestamp '1970-01-01' + greatest(c.updated_at, r.relabelled_at, born.relabelled_at) * interval '1 microsecond' as updatedat,
       timestamp '1970-01-01' + c.deleted_at * interval '1 microsecond' as deletedat
from bitespeed.contact_record c
join bitespeed.identity born on born.id = c.identity_id
join bitespeed.identity r on r.id = born.root_id;

-- What an erasure leaves of an identifier: a keyed hash of it, and when that was.
create table bitespeed.tombstone (
    tenant    text   not null collate "C",
    pseudonym text   not null collate "C",
    at        bigint not null,
    erasure   text   not null collate "C",
    primary key (tenant, pseudonym)
);

-- The key of those hashes. No row before the first erasure; then one.
create table bitespeed.erasure_secret (
    is_only boolean primary key default true check (is_only),
    secret  text    not null
);

-- Only the hash of a key is kept.
create table bitespeed.api_key (
    id         text   primary key collate "C",
    tenant     text   not null collate "C",
    scopes     text[] not null,
    hash       text   not null,
    created_at bigint not null,
    expires_at bigint,
    revoked_at bigint
);

-- The tenant of a statement that names none. Adopting a table for another tenant replaces it.
create function bitespeed.default_tenant()
returns text
language sql stable
return 'default';

-- Nobody but the owner gets at the rows; the functions are the way in.
alter table bitespeed.cache enable row level security;
alter table bitespeed.erasure_secret enable row level security;
alter table bitespeed.api_key enable row level security;

-- Every row belongs to a tenant, and a statement sees and writes only the rows of the tenant in the
-- setting `bitespeed.tenant`: a second lock beside the predicates of the functions. It binds the owner
-- too, as whom the functions run, unless that is a superuser or bypasses row level security. A
-- statement without the setting, such as a report that reads a view, is the default tenant's; `*` is
-- all tenants at once, for whoever reads or fills whole tables.
--
-- The settings are read in subqueries, so once for a statement and not for each row.
alter table bitespeed.identity enable row level security;
alter table bitespeed.identity force row level security;
create policy tenant on bitespeed.identity to current_user using (
    tenant = (select coalesce(nullif(current_setting('bitespeed.tenant', true), ''), bitespeed.default_tenant()))
    or (select current_setting('bitespeed.tenant', true) = '*'));

alter table bitespeed.contact_record enable row level security;
alter table bitespeed.contact_record force row level security;
create policy tenant on bitespeed.contact_record to current_user using (
    tenant = (select coalesce(nullif(current_setting('bitespeed.tenant', true), ''), bitespeed.default_tenant()))
    or (select current_setting('bitespeed.tenant', true) = '*'));

alter table bitespeed.identifier enable row level security;
alter table bitespeed.identifier force row level security;
create policy tenant on bitespeed.identifier to current_user using (
    tenant = (select coalesce(nullif(current_setting('bitespeed.tenant', true), ''), bitespeed.default_tenant()))
    or (select current_setting('bitespeed.tenant', true) = '*'));

alter table bitespeed.event enable row level security;
alter table bitespeed.event force row level security;
create policy tenant on bitespeed.event to current_user using (
    tenant = (select coalesce(nullif(current_setting('bitespeed.tenant', true), ''), bitespeed.default_tenant()))
    or (select current_setting('bitespeed.tenant', true) = '*'));

alter table bitespeed.tombstone enable row level security;
alter table bitespeed.tombstone force row level security;
create policy tenant on bitespeed.tombstone to current_user using (
    tenant = (select coalesce(nullif(current_setting('bitespeed.tenant', true), ''), bitespeed.default_tenant()))
    or (select current_setting('bitespeed.tenant', true) = '*'));
