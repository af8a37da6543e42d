-- Write all of the changes, or nothing. Returns what was given out: {"ids": [id], "created_at": [instant],
-- "at": instant}, for the new contacts in their order. Returns null when an identity is no longer as it was
-- read; {"cache": ...}, see `cache_state`, when the cache is in another epoch than the writer took it to be.
-- Raises SQLSTATE 23505 when a new value has been taken meanwhile. Each list in the changes holds arrays, in the
-- order of the fields of the Python structs, see `add_contacts`, `add_events`, `erase`. -n is the n-th new contact.
create or replace function bitespeed.commit(tenant text, changes jsonb, epoch text default null)
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
    stored  jsonb := jsonb_path_query_array(changes, 'strict $.identities[*] ? (@[0] > 0)');  -- those that were read
    ids     bigint[];  -- of the new contacts
    ages    bigint[];
    numbers bigint[];  -- of the events
    now_    bigint;
begin
    perform set_config('bitespeed.tenant', commit.tenant, true);
    if not bitespeed.admit_commit(commit.epoch) then
        return json_build_object('cache', bitespeed.cache_state());
    end if;
    if stored <> '[]' and not bitespeed.lock_identities(commit.tenant, stored) then
        return null;  -- nothing has been written before this, so nothing has to be undone
    end if;
    -- After the locks, so that ids and ages of one identity follow the order of its commits.
    now_ := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
    if jsonb_array_length(changes -> 'contacts') > 0 then
        select array_agg(nextval('bitespeed.contact_id')), array_agg(coalesce((c ->> 9)::bigint, greatest(now_, (c ->> 7)::bigint)))
        into ids, ages from jsonb_array_elements(changes -> 'contacts') as n (c);
        perform bitespeed.add_identifiers(commit.tenant, changes -> 'contacts', ids);
    end if;
    -- After the wait for whoever takes or frees a value, so that the numbers of its facts follow the order of commits.
    numbers := array(select nextval('bitespeed.event_seq_seq') from generate_series(1, jsonb_array_length(changes -> 'events')));
    perform bitespeed.add_contacts(commit.tenant, changes, numbers, ids, ages, now_) where ids is not null;
    if stored <> '[]' then
        perform bitespeed.change_identities(commit.tenant, stored, ids, now_);
    end if;
    if changes -> 'deleted' <> '[]' or changes -> 'erasure' <> 'null' then
        perform bitespeed.remove(commit.tenant, changes, now_);
    end if;
    if cardinality(numbers) > jsonb_array_length(changes -> 'contacts') then
        perform bitespeed.add_events(commit.tenant, changes -> 'events', numbers, ids, now_);
    end if;
    if changes -> 'freed_emails' <> '[]' or changes -> 'freed_phones' <> '[]' then
        perform bitespeed.end_values(commit.tenant, changes);
    end if;
    -- The fence of its writer stands for two minutes; see docs/decisions/0009-cache.md.
    if clock_timestamp() > statement_timestamp() + interval '100 s' then
        raise query_canceled using message = 'the commit has waited too long for others';
    end if;
    return json_build_object('ids', coalesce(ids, '{}'), 'created_at', coalesce(ages, '{}'), 'at', now_);
end
$$;
