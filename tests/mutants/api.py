"""Mistakes in who may use the API, and how much it answers."""

from support.mutants import Mutant, Suite

ORIGINS = Suite("api/test_origins.py", "not public and not mounted and not key")

MUTANTS = [
    Mutant(
        "the last accepted host stands for every other one",
        "api/origins.py",
        "if host is None or host == self._last_host or",
        "if host is None or self._last_host or",
        ORIGINS,
    ),
    Mutant(
        "another port is the same site",
        "api/origins.py",
        "authority in {host, host.removesuffix(port)}",
        'authority.partition(b":")[0] == host.partition(b":")[0]',
        ORIGINS,
    ),
    Mutant(
        "a page of the same site is one of ours",
        "api/origins.py",
        '{None, b"same-origin", b"none"}',
        '{None, b"same-origin", b"same-site", b"none"}',
        ORIGINS,
    ),
    Mutant(
        "a frame counts as navigation",
        "api/origins.py",
        '        and headers.get(b"sec-fetch-dest") == b"document"\n',
        "",
        ORIGINS,
    ),
    Mutant(
        "a foreign page is let in at once",
        "api/origins.py",
        '            and b"origin" not in headers\n',
        "",
        ORIGINS,
    ),
    Mutant(
        "what needs no key is open to every page",
        "api/dispatch.py",
        "if not operation.is_open:",
        "if operation.scope is not None:",
        ORIGINS,
    ),
]
