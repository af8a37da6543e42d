-- Remove permanently what an erasure names. `commit` calls this while it locks the identities.
--
-- erasure is {"id": text, "identities": [id], "contacts": [id], "events": [seq], "secret": text,
-- "pseudonyms": [text]}: identities go with all that have them as root, contacts by themselves, and
-- events lose their values and texts. SQLSTATE 23505 when another erasure has brought another secret.
create or replace function bitespeed.erase(tenant text, erasure jsonb, at bigint)
returns void
language plpgsql volatile
as $$
declare
    roots    bigint[] := array(select jsonb_array_elements_text(erasure -> 'identities')::bigint);
    family   bigint[] := array(select f.id from unnest(roots) as r (id), lateral bitespeed.family(erase.tenant, r.id) as f (id));
    contacts bigint[] := array(select jsonb_array_elements_text(erasure -> 'contacts')::bigint);
    events   bigint[] := array(select jsonb_array_elements_text(erasure -> 'events')::bigint);
    adopted  text;
begin
    -- The first erasure brings it; it never changes. Whoever loses that race decides again.
    insert into bitespeed.erasure_secret (secret) values (erasure ->> 'secret') on conflict do nothing;
    if not exists (select 1 from bitespeed.erasure_secret s where s.secret = erasure ->> 'secret') then
        raise unique_violation using message = 'another erasure was the first one';
    end if;

    contacts := contacts || array(select c.id from unnest(family) as f (id), lateral bitespeed.born_in(erase.tenant, f.id) as c);
    delete from bitespeed.contact_record c where c.id = any (contacts) and c.tenant = erase.tenant;
    delete from bitespeed.event_record e where e.identity_id = any (family) and e.tenant = erase.tenant;
    update bitespeed.event_record e
    set kind_of_value = null, value = null, kind_of_other = null, other = null,
        raw_value = null, raw_other = null, country = null, request = null, label = null
    where e.seq = any (events) and e.tenant = erase.tenant;
    delete from bitespeed.identity i where i.id = any (family) and i.tenant = erase.tenant;

    -- The table that was adopted, if one was, is kept beside; its columns are its former owner's.
    select a.attname into adopted
    from pg_attribute a
    where a.attrelid = to_regclass('bitespeed.adopted_contact') and lower(a.attname) = 'id' and not a.attisdropped;
    if adopted is not null then
        execute format('delete from bitespeed.adopted_contact where %I = any ($1)', adopted) using contacts;
    end if;

    insert into bitespeed.tombstone (tenant, pseudonym, at, erasure)
    select erase.tenant, r.pseudonym, erase.at, erasure ->> 'id'
    from jsonb_array_elements_text(erasure -> 'pseudonyms') as r (pseudonym)
    order by r.pseudonym collate "C"
    on conflict on constraint tombstone_pkey do update set at = excluded.at, erasure = excluded.erasure;
end
$$;
