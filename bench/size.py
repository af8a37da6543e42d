"""Repeats against a small and a very large database, in turns.

Customers are drawn from the whole database, so nearly every request to the large one is
for a customer that no request named before.
"""

from itertools import count

import msgspec

from bench import data, processes, wrk
from bench.data import Filled
from bench.figures import Summary, ratios, summarise
from bench.processes import Server
from bench.scale import CONNECTIONS, SEED, Scale

LONE = 1  # connection: each request waits for the answer to the one before it

WARM_UP = 2  # runs at the beginning that do not count


class Comparison(msgspec.Struct, frozen=True):
    """Medians of the time to an answer, in milliseconds."""

    small: Summary
    big: Summary
    ratio: Summary


class Sizes(msgspec.Struct, frozen=True):
    """The comparisons by number of connections, and what was compared."""

    small_contacts: int
    big_contacts: int
    big_bytes: int
    by_connections: dict[int, Comparison]


def measure(scale: Scale, small: Filled, big: Filled) -> Sizes:
    """A service on each of two databases filled with SQL."""
    times: dict[int, tuple[list[float], list[float]]] = {LONE: ([], []), CONNECTIONS: ([], [])}
    seeds = count(SEED)
    with (
        processes.service(small.url, scale.work) as smaller,
        processes.service(big.url, scale.work) as bigger,
    ):
        databases = (smaller, small.contacts), (bigger, big.contacts)
        for number in range(-WARM_UP, scale.rounds):
            for connections, columns in times.items():
                for (server, contacts), column in zip(databases, columns, strict=True):
                    p50 = _p50(server, scale.seconds, connections, [next(seeds), contacts])
                    if number >= 0:
                        column.append(p50)
    return Sizes(
        small_contacts=small.contacts,
        big_contacts=big.contacts,
        big_bytes=big.bytes,
        by_connections={connections: _compare(*columns) for connections, columns in times.items()},
    )


def _p50(server: Server, seconds: int, connections: int, arguments: list[int]) -> float:
    load = wrk.run("repeats", server.url, seconds, connections, *arguments, data.LINKED)
    return load.p50 / 1000


def _compare(small: list[float], big: list[float]) -> Comparison:
    return Comparison(summarise(small), summarise(big), summarise(ratios(big, small)))
