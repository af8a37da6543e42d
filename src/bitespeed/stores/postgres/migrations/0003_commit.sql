-- Write all of the changes, or nothing, and tell the ids and ages of the new contacts, in their
-- order: {"ids": [...], "created_at": [...], "at": instant}. Null when an identity is no longer as it was read;
-- SQLSTATE 23505 when a new value has been taken meanwhile; {"cache": ...}, see `cache_state`, when
-- the cache is in another epoch than the writer took it to be.
--
-- Each list in the changes holds arrays, in the order of the fields of the Python structs:
-- identities [id, root, primary, primary_at, contacts, version], contacts [identity, email, phone,
-- raw_email, raw_phone, new_email, new_phone, not_before], events [kind, identity, version,
-- contact, merged, email, phone]. A reference -n means the n-th new contact. For the erasure, see `erase`.
create function bitespeed.commit(tenant text, changes jsonb, epoch text default null)
returns json
language plpgsql volatile
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
set lock_timeout = '4s'
as $$
declare
    stored jsonb := (select jsonb_agg(c order by (c ->> 0)::bigint)
                     from jsonb_array_elements(changes -> 'identities') as i (c)
                     where (c ->> 0)::bigint > 0);
    ids    bigint[];
    ages   bigint[];
    now_   bigint;
    change jsonb;
    cache  bitespeed.cache;
begin
    perform set_config('bitespeed.tenant', commit.tenant, true);
    -- SubjectRecords to the end, so that an epoch ends only when all of its commits have.
    perform pg_advisory_xact_lock_shared(1651078245, 1);
    if current_setting('transaction_isolation') <> 'read committed' then
        perform from bitespeed.cache for share;  -- fails if the epoch has changed during the wait
    end if;
    select * into cache from bitespeed.cache;
    if cache.epoch is distinct from commit.epoch
        or cache.is_suspended and clock_timestamp() < cache.since + interval '1.25 s' then
        return json_build_object('cache', bitespeed.cache_state());
    end if;

    -- In the order of ids, so that commits never wait for each other in a ring. Each is compared as
    -- soon as it is locked, so that nobody waits while holding the lock of a dead one: whoever ended
    -- it may be waiting to relabel it. Nothing has been written before this, so a null undoes nothing.
    -- (A loop over nothing takes nearly as long as a row to be written, so it is passed by.)
    if stored is not null then
        for change in select * from jsonb_array_elements(stored) loop
            perform from bitespeed.identity i
            where i.id = (change ->> 0)::bigint and i.root_id = i.id and i.version = (change ->> 5)::integer
            for no key update;
            if not found then
                return null;
            end if;
        end loop;
    end if;

    -- After the locks, so that ids and ages of one identity follow the order of its commits.
    now_ := (extract(epoch from clock_timestamp()) * 1000000)::bigint;

    if jsonb_array_length(changes -> 'contacts') > 0 then
        select array_agg(nextval('bitespeed.contact_id')),
               array_agg(greatest(now_, (c ->> 7)::bigint))
        into ids, ages
        from jsonb_array_elements(changes -> 'contacts') as n (c);

        -- In the order of the key, so that no ring of waits can form here either. Not `on conflict do
        -- nothing`, which looks each key up once more and logs each row twice.
        begin
            insert into bitespeed.identifier (tenant, kind, value, identity_id)
            select commit.tenant, v.kind, v.value, case when v.identity < 0 then ids[-v.identity] else v.identity end
            from (select 'email' as kind, c ->> 1 as value, (c ->> 0)::bigint as identity
                  from jsonb_array_elements(changes -> 'contacts') as n (c)
                  where (c -> 5)::boolean
                  union all
                  select 'phone', c ->> 2, (c ->> 0)::bigint
                  from jsonb_array_elements(changes -> 'contacts') as n (c)
                  where (c -> 6)::boolean) as v
            order by v.value collate "C", v.kind collate "C";
        exception when unique_violation then
            -- The database's own error would quote the value.
            raise unique_violation using message = 'a new value has been taken since it was read';
        end;

        insert into bitespeed.contact_record (
            id, tenant, identity_id, email, phone, raw_email, raw_phone, created_at, updated_at)
        select ids[place], commit.tenant, case when (c ->> 0)::bigint < 0 then ids[-(c ->> 0)::bigint] else (c ->> 0)::bigint end,
               c ->> 1, c ->> 2, c ->> 3, c ->> 4, ages[place], ages[place]
        from jsonb_array_elements(changes -> 'contacts') with ordinality as n (c, place);

        insert into bitespeed.identity (id, tenant, root_id, primary_id, primary_at, contacts, version)
        select ids[-(c ->> 0)::bigint], commit.tenant, case when (c ->> 1)::bigint < 0 then ids[-(c ->> 1)::bigint] else (c ->> 1)::bigint end,
               ids[-(c ->> 2)::bigint], ages[-(c ->> 2)::bigint], (c ->> 4)::integer, 1
        from jsonb_array_elements(changes -> 'identities') as i (c)
        where (c ->> 0)::bigint < 0;
    end if;

    if stored is not null then
        for change in select * from jsonb_array_elements(stored) loop
            update bitespeed.identity i
            set primary_id = (change ->> 2)::bigint, primary_at = (change ->> 3)::bigint,
                contacts = (change ->> 4)::integer, version = i.version + 1
            where i.id = (change ->> 0)::bigint;
        end loop;

        -- An identity that ends in a merge hands over all that had it as root, its own row included.
        for change in select c from jsonb_array_elements(stored) as i (c) where c -> 0 <> c -> 1 loop
            update bitespeed.identity i
            set root_id = (change ->> 1)::bigint
            where i.root_id = (change ->> 0)::bigint;
        end loop;
    end if;

    if changes -> 'deleted' <> '[]' or changes -> 'erasure' <> 'null' then
        for change in select * from jsonb_array_elements(changes -> 'deleted') loop
            update bitespeed.contact_record c
            set deleted_at = greatest(now_, c.created_at), updated_at = greatest(now_, c.created_at)
            where c.id = change::bigint;
        end loop;
        for change in select * from jsonb_array_elements(changes -> 'freed_emails') loop
            delete from bitespeed.identifier i
            where i.tenant = commit.tenant and i.kind = 'email' and i.value = change #>> '{}';
        end loop;
        for change in select * from jsonb_array_elements(changes -> 'freed_phones') loop
            delete from bitespeed.identifier i
            where i.tenant = commit.tenant and i.kind = 'phone' and i.value = change #>> '{}';
        end loop;

        if changes -> 'erasure' <> 'null' then
            perform bitespeed.erase(commit.tenant, changes -> 'erasure', now_);
        end if;
    end if;

    insert into bitespeed.event (is_told, tenant, at, kind, identity_id, version, contact_id, merged_id, email, phone)
    select true, commit.tenant, now_, e ->> 0,
           case when (e ->> 1)::bigint < 0 then ids[-(e ->> 1)::bigint] else (e ->> 1)::bigint end, (e ->> 2)::integer,
           case when (e ->> 3)::bigint < 0 then ids[-(e ->> 3)::bigint] else (e ->> 3)::bigint end,
           case when (e ->> 4)::bigint < 0 then ids[-(e ->> 4)::bigint] else (e ->> 4)::bigint end,
           e ->> 5, e ->> 6
    from jsonb_array_elements(changes -> 'events') with ordinality as n (e, place)
    order by place;

    -- The fence of its writer stands for two minutes; see docs/decisions/0009-cache.md.
    if clock_timestamp() > statement_timestamp() + interval '100 s' then
        raise query_canceled using message = 'the commit has waited too long for others';
    end if;
    return json_build_object('ids', coalesce(ids, '{}'), 'created_at', coalesce(ages, '{}'), 'at', now_);
end
$$;

revoke execute on function bitespeed.commit from public;
