"""Throughput of several workers on one database, beside that of one."""

from contextlib import ExitStack
from itertools import count

import msgspec

from bench import processes, workloads
from bench.figures import Summary, ratios, summarise
from bench.postgres.databases import Databases
from bench.scale import Scale
from bench.workloads import WORKLOADS

WORKERS = (1, 2, 4)


class Scaling(msgspec.Struct, frozen=True):
    """One workload, by the number of workers."""

    rate: dict[int, Summary]
    ratio: dict[int, Summary]
    """To the rate of one worker in the same turn."""


def measure(scale: Scale, databases: Databases) -> dict[str, Scaling]:
    """Each workload with each number of workers, which take turns on one database."""
    database = databases.fresh()
    workloads.preload(database, scale.work)
    rates: dict[str, dict[int, list[float]]] = {
        workload: {workers: [] for workers in WORKERS} for workload in WORKLOADS
    }
    runs = count(1)
    with ExitStack() as stack:
        servers = {
            workers: stack.enter_context(processes.service(database, scale.work, workers))
            for workers in WORKERS
        }
        for server in servers.values():  # once, so that who answers has connected
            workloads.run("repeats", server, scale.seconds, next(runs))
        for _ in range(scale.rounds):
            for workload in WORKLOADS:
                for workers, server in servers.items():
                    load, _ = workloads.run(workload, server, scale.seconds, next(runs))
                    rates[workload][workers].append(load.rate)
    return {workload: _compare(rates[workload]) for workload in WORKLOADS}


def _compare(rates: dict[int, list[float]]) -> Scaling:
    alone = rates[WORKERS[0]]
    return Scaling(
        rate={workers: summarise(those) for workers, those in rates.items()},
        ratio={workers: summarise(ratios(those, alone)) for workers, those in rates.items()},
    )
