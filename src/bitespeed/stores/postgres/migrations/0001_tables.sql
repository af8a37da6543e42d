-- Instants are microseconds since 1970, UTC. An identity is called after the contact that founded it.
-- Texts compare by their bytes: the order of keys is nobody's language.

create table bitespeed.identity (
    id         bigint  primary key,
    tenant     text    not null collate "C",
    root_id    bigint  not null,  -- itself while it lives, else the identity it was merged into
    primary_id bigint,            -- its oldest live contact; null when all are deleted
    primary_at bigint,
    contacts   integer not null,  -- live contacts of all identities with this root
    version    integer not null
);

create index identity_root on bitespeed.identity (root_id);

-- A fact: the row never changes when identities merge.
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
    deleted_at  bigint
);

create index contact_record_identity on bitespeed.contact_record (identity_id);

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
    is_told     boolean not null default false,  -- to the cache, by whoever wrote it
    tenant      text    not null collate "C",
    at          bigint  not null,
    kind        text    not null collate "C",
    identity_id bigint  not null,
    version     integer not null,  -- of that identity, after the event
    contact_id  bigint,
    merged_id   bigint,            -- the identity that a merge ended
    email       text    collate "C",  -- the observation that joined the two
    phone       text    collate "C"
);

create index event_untold on bitespeed.event (xact) where not is_told;

-- Whether answers are cached elsewhere, and in which epoch. One row.
--
-- In an epoch every writer fences in the cache what it is about to change. One that cannot suspends
-- the cache: another epoch begins, in which nobody uses it. Whoever has not heard of that yet may
-- use it until its licence lapses, so commits are admitted only then.
create table bitespeed.cache (
    is_only      boolean     primary key default true check (is_only),
    epoch        text        collate "C",  -- null until a cache is used for the first time
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
       timestamp '1970-01-01' + c.updated_at * interval '1 microsecond' as updatedat,
       timestamp '1970-01-01' + c.deleted_at * interval '1 microsecond' as deletedat
from bitespeed.contact_record c
join bitespeed.identity born on born.id = c.identity_id
join bitespeed.identity r on r.id = born.root_id;

-- Nobody but the owner gets at the rows; the functions are the way in.
alter table bitespeed.identity enable row level security;
alter table bitespeed.contact_record enable row level security;
alter table bitespeed.identifier enable row level security;
alter table bitespeed.event enable row level security;
alter table bitespeed.cache enable row level security;
