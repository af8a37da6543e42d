"""Throughput with keys, limits, logs and metrics, as in production, beside the bare service.

Both take turns in short runs, each on a file of its own; who is first changes from turn to turn.
What is sent to the whole service has an API key with a rate, which is never used up, and its log
goes to a file. What the bare service goes without is in `bench.bare`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import msgspec

from bench import ceilings, data, processes, workloads
from bench.figures import Summary, ratios, summarise
from bench.processes import Server
from bench.scale import Scale

WORKLOADS = ("repeats", "new")
RATE = "1000000"  # requests a second that the key may send; more than any machine answers


class Comparison(msgspec.Struct, frozen=True):
    """One workload; processor time is in microseconds for each request."""

    bare_rate: Summary
    whole_rate: Summary
    share: Summary
    """Of the bare service's rate."""
    bare_cpu: Summary
    whole_cpu: Summary
    cpu_share: Summary
    """Below 1, and grows as it gets better."""


class _Column:
    """The runs of one service."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.cpu: list[float] = []


def measure(scale: Scale) -> dict[str, Comparison]:
    """Each workload with and without."""
    columns = {workload: (_Column(), _Column()) for workload in WORKLOADS}
    runs = count(1)
    with _servers(scale) as servers:
        for turn in range(scale.rounds):
            for workload in WORKLOADS:
                number = next(runs)
                pair = zip(servers, columns[workload], strict=True)
                for server, column in reversed([*pair]) if turn % 2 else pair:
                    load, cpu = workloads.run(workload, server, scale.seconds, number)
                    column.rates.append(load.rate)
                    column.cpu.append(cpu)
    return {workload: _compare(*columns[workload]) for workload in WORKLOADS}


@contextmanager
def _servers(scale: Scale) -> Iterator[tuple[Server, Server]]:
    """The bare service and the whole one."""
    databases: list[str] = []
    for name in ("bare", "whole"):
        folder = scale.work / name
        folder.mkdir()
        databases.append(data.url(ceilings.preloaded(folder)))
    bare_database, whole_database = databases
    key = processes.create_key(whole_database)
    with (
        processes.bare_service(bare_database, scale.work) as bare,
        processes.service(whole_database, scale.work, key=key, BITESPEED_RATE_LIMIT=RATE) as whole,
    ):
        yield bare, whole


def _compare(bare: _Column, whole: _Column) -> Comparison:
    return Comparison(
        bare_rate=summarise(bare.rates),
        whole_rate=summarise(whole.rates),
        share=summarise(ratios(whole.rates, bare.rates)),
        bare_cpu=summarise(bare.cpu),
        whole_cpu=summarise(whole.cpu),
        cpu_share=summarise(ratios(bare.cpu, whole.cpu)),
    )
