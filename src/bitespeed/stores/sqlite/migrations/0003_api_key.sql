-- Only the hash of a key is kept. Instants are microseconds since 1970, UTC.
create table api_key (
    id         text    primary key,
    tenant     text    not null,
    scopes     text    not null,  -- a JSON array
    hash       text    not null,
    created_at integer not null,
    expires_at integer,
    revoked_at integer
) strict, without rowid;
