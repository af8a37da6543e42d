-- Instants are microseconds since 1970, UTC. An identity is called after its first contact.

create table identity (
    id         integer primary key,
    tenant     text    not null,
    root_id    integer not null,  -- itself while it lives, else the identity it was merged into
    primary_id integer,           -- its oldest live contact; null when all are deleted
    primary_at integer,
    contacts   integer not null,  -- live contacts of all identities with this root
    version    integer not null,
    -- Drawn anew by every change. After a restore a version comes twice, a stamp does not: see
    -- docs/decisions/0026-stamps.md.
    stamp      integer not null default (random() & 9007199254740991),
    relabelled_at integer         -- when its root or primary last changed; null: never
) strict;

create index identity_root on identity (root_id);

-- A fact: its values, as they were first seen, and the event of that. The row does not change when
-- identities merge.
create table contact_record (
    id          integer primary key autoincrement,
    tenant      text    not null,
    identity_id integer not null,  -- the identity it was born in, for ever
    email       text,
    phone       text,
    raw_email   text,              -- as sent, where that differs
    raw_phone   text,
    created_at  integer not null,
    updated_at  integer not null,
    deleted_at  integer,
    country     text,              -- of a phone number that was sent without a country code
    email_until integer,           -- the event after which nobody had the value any more: who brings
    phone_until integer,           -- it again is somebody else
    anchor      text,              -- the kind of the value it goes with, if that is not its email
    -- The event that created it, as in event_record. Null for an adopted contact, which has one there.
    number      integer,
    at          integer,
    version     integer,
    primary_id  integer,
    source      text,
    request     text,
    label       text
) strict;

create index contact_record_number on contact_record (number) where number is not null;

create index contact_record_identity on contact_record (identity_id);

-- Two identities cannot share a value, whatever the code does.
create table identifier (
    tenant      text    not null,
    kind        text    not null check (kind in ('email', 'phone')),
    value       text    not null,
    identity_id integer not null,
    primary key (tenant, kind, value)
) strict, without rowid;

-- What happens, but for the creation of a contact, which its row says.
create table event_record (
    seq         integer primary key autoincrement,  -- of contacts too: facts are numbered as they commit
    tenant      text    not null,
    at          integer not null,
    kind        text    not null,
    identity_id integer not null,
    version     integer not null,  -- of that identity, after the event
    contact_id  integer,
    merged_id   integer,           -- the identity that a merge ended
    primary_id  integer,           -- afterwards; null where that is the contact
    -- A fact that no contact says: two values seen together. As in contact_record otherwise.
    kind_of_value text,
    value         text,
    kind_of_other text,
    other         text,
    raw_value     text,
    raw_other     text,
    country       text,
    value_until   integer,
    other_until   integer,
    source      text,              -- the id of an API key, cli, queue, import:NAME
    request     text,
    label       text,              -- in the caller's words
    -- Of a merge: the younger of the two primary contacts, and the contacts of the older's identity
    -- and of the younger's before it.
    merged_primary_id integer,
    size              integer,
    merged_size       integer
) strict;

create index event_merge on event_record (tenant, seq) where kind = 'identities.merged';

create index event_pair on event_record (identity_id) where value is not null;
create index event_value on event_record (value, kind_of_value, tenant) where value is not null;
create index event_other on event_record (other, kind_of_other, tenant) where other is not null;

-- The creations of contacts, with the columns of event_record. The planner puts this view in the place of its
-- name, and not the one below it, which would be made whole wherever it is joined.
create view creation as
select number as seq, tenant, at, 'contact.created' as kind, identity_id, version, id as contact_id,
       null as merged_id, primary_id, null as kind_of_value, null as value, null as kind_of_other, null as other,
       null as raw_value, null as raw_other, null as country, null as value_until, null as other_until,
       source, request, label, null as merged_primary_id, null as size, null as merged_size
from contact_record
where number is not null;

-- All that happens.
create view event as
select * from creation
union all
select * from event_record;

-- The creations of contacts as arrays of the fields of the Python struct `Happening`, with their values.
create view creation_happening as
select id as contact_id,
       json_array(
           number, at, 'contact.created', identity_id, id, null, primary_id,
           iif(email is null, null, 'email'), email, iif(phone is null, null, 'phone'), phone,
           source, label, null, null, null) as fields
from contact_record
where number is not null;

-- The same of other events, one that adopted a contact with the values of that.
create view happening as
select e.seq, e.tenant, e.at, e.kind,
       json_array(
           e.seq, e.at, e.kind, e.identity_id, e.contact_id, e.merged_id, e.primary_id,
           coalesce(e.kind_of_value, iif(c.email is null, null, 'email')), coalesce(e.value, c.email),
           coalesce(e.kind_of_other, iif(c.phone is null, null, 'phone')), coalesce(e.other, c.phone),
           e.source, e.label, e.merged_primary_id, e.size, e.merged_size) as fields
from event_record e
left join contact_record c on c.id = e.contact_id and e.kind = 'contact.adopted';

-- The published shape.
create view contact as
select c.id,
       c.phone as phonenumber,
       c.email,
       nullif(r.primary_id, c.id) as linkedid,
       iif(coalesce(r.primary_id, c.id) = c.id, 'primary', 'secondary') as linkprecedence,
       strftime('%Y-%m-%d %H:%M:%f', c.created_at / 1e6, 'unixepoch') as createdat,
       strftime('%Y-%m-%d %H:%M:%f', max(c.updated_at, coalesce(r.relabelled_at, 0), coalesce(born.relabelled_at, 0)) / 1e6, 'unixepoch') as updatedat,
       strftime('%Y-%m-%d %H:%M:%f', c.deleted_at / 1e6, 'unixepoch') as deletedat
from contact_record c
join identity born on born.id = c.identity_id
join identity r on r.id = born.root_id;

-- What an erasure leaves of an identifier: a keyed hash of it, and when that was.
create table tombstone (
    tenant    text    not null,
    pseudonym text    not null,
    at        integer not null,
    erasure   text    not null,
    primary key (tenant, pseudonym)
) strict, without rowid;

-- The key of those hashes. No row before the first erasure; then one.
create table erasure_secret (
    is_only integer primary key check (is_only = 1),
    secret  text    not null
) strict;

-- Erasures whose values may still be in the write-ahead log. Whoever has emptied it removes the row.
create table erasure_in_log (
    erasure text primary key
) strict, without rowid;

-- The rows of one person are read without a walk through everybody's.
create index event_identity on event_record (identity_id, contact_id);
-- The first contact of an identity is found by its id.
create index contact_record_email on contact_record (tenant, email) where id <> identity_id;
create index contact_record_phone on contact_record (tenant, phone) where id <> identity_id;
create index contact_record_deleted_email on contact_record (tenant, email) where deleted_at is not null;
create index contact_record_deleted_phone on contact_record (tenant, phone) where deleted_at is not null;

-- Only the hash of a key is kept.
create table api_key (
    id         text    primary key,
    tenant     text    not null,
    scopes     text    not null,  -- a JSON array
    hash       text    not null,
    created_at integer not null,
    expires_at integer,
    revoked_at integer
) strict, without rowid;

-- Makes the pseudonyms by which logs speak of customers, the same in all processes on the file.
create table secret (
    secret text not null
) strict;

insert into secret (secret) values (lower(hex(randomblob(32))));
