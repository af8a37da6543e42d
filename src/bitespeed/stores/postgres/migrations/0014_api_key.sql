-- Only the hash of a key is kept. Instants are microseconds since 1970, UTC.
create table bitespeed.api_key (
    id         text   primary key collate "C",
    tenant     text   not null collate "C",
    scopes     text[] not null,
    hash       text   not null,
    created_at bigint not null,
    expires_at bigint,
    revoked_at bigint
);

alter table bitespeed.api_key enable row level security;
