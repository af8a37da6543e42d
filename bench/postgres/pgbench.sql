-- What pgbench reads and writes.

-- name: create_known
create table known (id bigint primary key, email text not null, phone text not null unique);

-- name: fill_known
insert into known (id, email, phone)
select n, 'c' || (%(first)s + n) || '@example.com', %(first)s + n
from generate_series(1::bigint, %(contacts)s) as n;

-- name: create_added
create table added (
    id         bigint      generated always as identity primary key,
    email      text        not null,
    phone      text        not null,
    created_at timestamptz not null default now()
);

-- name: index_added
create index added_email on added (email);
