"""Mistakes in the cache."""

from support.mutants import Mutant, Suite

CACHE = Suite(
    "caches",
    "not upstash and (stamp or lease or fence or outcome or licence or late_reply or in_turn)",
)
FEED = Suite("caches/test_feed.py", "")
PAIRS = Suite("caches", "not upstash and pair")
EPOCHS = Suite("caches/test_epochs.py", "restart or clone")
TENANTS = Suite("api/test_keys.py", "cache and crosses")

FUNCTIONS = "stores/postgres/functions"

MUTANTS = [
    Mutant(
        "an event of an unknown kind ends the epoch",
        "stores/postgres/functions/cache_feed.sql",
        "e.kind <> all (array['contact.erased', 'identity.erased'])",
        "e.kind = any (array['contact.created', 'pair.seen'])",
        FEED,
    ),
    Mutant(
        "a value that was taken away without a commit stays cached",
        "stores/postgres/functions/cache_feed.sql",
        "e.kind <> all (array['contact.erased', 'identity.erased'])",
        "true",
        FEED,
    ),
    Mutant(
        "the cache's follower waits for a transaction that is running",
        "stores/postgres/functions/cache_feed.sql",
        "pg_snapshot_xmax(pg_current_snapshot()), true",
        "pg_snapshot_xmin(pg_current_snapshot()), true",
        FEED,
    ),
    Mutant(
        "the cached answers of all tenants are one",
        "caches/entries.py",
        ":{tenant}:",
        ":",
        TENANTS,
    ),
    Mutant(
        "a cached answer overtakes an earlier observation of its batch",
        "service/pipeline.py",
        "if answer is None or (in_turn and rest):",
        "if answer is None:",
        CACHE,
    ),
    Mutant(
        "a reply is used after the licence",
        "caches/answers.py",
        "if mark is None or monotonic() > lookup.licence_end:",
        "if mark is None:",
        CACHE,
    ),
    Mutant(
        "a reply after its deadline goes to the next command",
        "caches/redis.py",
        "command.is_overdue = True",
        "self._waiting.remove(command)",
        CACHE,
    ),
    Mutant(
        "entries of an identity at two stamps are a hit",
        "caches/entries.py",
        "(other.identity, other.stamp) != (entry.identity, entry.stamp)",
        "other.identity != entry.identity",
        CACHE,
    ),
    Mutant(
        "a pair that was never seen together is a hit",
        "caches/entries.py",
        "return entry if _has_seen(entry, observation) else None",
        "return entry",
        PAIRS,
    ),
    Mutant(
        "too many pairs are all pairs",
        "caches/entries.py",
        'return bytes(entry.secondary_ids) == b"[]"',
        "return True",
        Suite("caches/test_entries.py", ""),
    ),
    Mutant(
        "a fence is released although the commit may still happen",
        "caches/answers.py",
        "except (Conflict, EpochOver):",
        "except Exception:",
        CACHE,
    ),
    Mutant(
        "a fill ignores the lease",
        "caches/scripts/fill.lua",
        "if redis.call('GET', KEYS[i]) == lease then",
        "if lease then",
        CACHE,
    ),
    Mutant(
        "a fence replaces another one",
        "caches/scripts/fence.lua",
        "fences[i] = stored .. ARGV[1]",
        "fences[i] = 'F' .. ARGV[1]",
        CACHE,
    ),
    Mutant(
        "a wrong port is not logged",
        "caches/redis.py",
        "self._refusals.report(reason_of(error))",
        "pass",
        Suite("caches/test_configuration.py", "wrong_configuration"),
    ),
    Mutant(
        "a server that may evict a fence is used",
        "caches/redis.py",
        'facts.get("maxmemory", "0") != "0"',
        "False",
        CACHE,
    ),
    Mutant(
        "a commit is admitted in an epoch of before a restart",
        f"{FUNCTIONS}/admit_commit.sql",
        "cache.epoch is null or cache.incarnation is not distinct from bitespeed.incarnation()",
        "true",
        EPOCHS,
    ),
    Mutant(
        "an epoch of before a restart is used",
        f"{FUNCTIONS}/cache_state.sql",
        "c.epoch is not null and c.incarnation is distinct from bitespeed.incarnation()",
        "false",
        EPOCHS,
    ),
    Mutant(
        "an epoch of before a restart is resumed before all licences lapse",
        f"{FUNCTIONS}/cache_resume.sql",
        "(c.is_suspended and c.incarnation = bitespeed.incarnation())",
        "c.incarnation <> bitespeed.incarnation()",
        EPOCHS,
    ),
    Mutant(
        "a suspension of before a restart goes on",
        f"{FUNCTIONS}/cache_suspend.sql",
        "c.is_suspended and c.incarnation = present",
        "c.is_suspended",
        EPOCHS,
    ),
    Mutant(
        "an epoch goes on in a clone of its database",
        f"{FUNCTIONS}/incarnation.sql",
        ", pg_relation_filepath('bitespeed.identity')",
        "",
        EPOCHS,
    ),
    Mutant(
        "an epoch goes on after a restart",
        f"{FUNCTIONS}/incarnation.sql",
        "extract(epoch from pg_postmaster_start_time()), ",
        "",
        EPOCHS,
    ),
]
