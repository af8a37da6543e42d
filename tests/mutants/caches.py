"""Mistakes in the cache."""

from support.mutants import Mutant, Suite

CACHE = Suite(
    "caches",
    "not upstash and (version or lease or fence or outcome or licence or late or in_turn)",
)
TENANTS = Suite("api/test_keys.py", "cache and crosses")

MUTANTS = [
    Mutant(
        "the cached answers of all tenants are one",
        "caches/entries.py",
        ":{tenant}:",
        ":",
        TENANTS,
    ),
    Mutant(
        "what is in the cache overtakes what came before it in a batch",
        "service/pipeline.py",
        "if answer is None or (in_turn and rest):",
        "if answer is None:",
        CACHE,
    ),
    Mutant(
        "a reply is used after the licence",
        "caches/answers.py",
        "if mark is None or monotonic() > found.until:",
        "if mark is None:",
        CACHE,
    ),
    Mutant(
        "a reply that comes too late goes to whoever asked next",
        "caches/redis.py",
        "asked.is_late = True",
        "self._waiting.remove(asked)",
        CACHE,
    ),
    Mutant(
        "entries of an identity at two versions are a hit",
        "caches/entries.py",
        "(other.identity, other.version) != (entry.identity, entry.version)",
        "other.identity != entry.identity",
        CACHE,
    ),
    Mutant(
        "a fence is taken away though the commit may yet happen",
        "caches/answers.py",
        "except (Conflict, EpochOver):",
        "except Exception:",
        CACHE,
    ),
    Mutant(
        "a fill does not look at the lease",
        "caches/scripts/fill.lua",
        "if redis.call('GET', KEYS[i]) == lease then",
        "if lease then",
        CACHE,
    ),
    Mutant(
        "a fence takes another's place",
        "caches/scripts/fence.lua",
        "fences[i] = held .. ARGV[1]",
        "fences[i] = 'F' .. ARGV[1]",
        CACHE,
    ),
    Mutant(
        "a server that may drop a fence is used",
        "caches/redis.py",
        'facts.get("maxmemory", "0") != "0"',
        "False",
        CACHE,
    ),
]
