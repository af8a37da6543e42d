-- name: keys
select json_group_array(json_object(
           'id', id, 'tenant', tenant, 'scopes', json(scopes), 'hash', hash, 'created_at', created_at,
           'expires_at', expires_at, 'revoked_at', revoked_at))
from api_key
where :ids is null or id in (select value from json_each(:ids));

-- name: put_key
insert into api_key (id, tenant, scopes, hash, created_at, expires_at, revoked_at)
values (:id, :tenant, :scopes, :hash, :created_at, :expires_at, :revoked_at)
on conflict (id) do update set expires_at = excluded.expires_at, revoked_at = excluded.revoked_at;
