"""Throughput beside the ceilings: pgbench with one statement for each request, and uvicorn
answering a constant, which is what the way over HTTP and ASGI leaves when nothing is looked up.

All take turns in short runs, so that they see the machine in the same mood; the service is
compared with the runs of its own turn alone.
"""

from itertools import count

import msgspec

from bench import processes, wrk
from bench.figures import Summary, ratios, summarise
from bench.postgres import pgbench
from bench.postgres.databases import Databases
from bench.processes import Server
from bench.scale import Scale
from bench.workloads import WORKLOADS, preload
from bench.workloads import run as run_wrk

PGBENCH, PREPARED, CONSTANT = "pgbench", "pgbench -M prepared", "constant answer"


class Turn(msgspec.Struct):
    """One workload everywhere, one after the other: rates by ceiling, then the service."""

    ceilings: dict[str, float]
    service: wrk.Load
    service_cpu: float
    """Microseconds of processor time for each request, PostgreSQL's not counted."""


class Beside(msgspec.Struct, frozen=True):
    """A ceiling, and the share of it that the service reaches."""

    rate: Summary
    share: Summary


class Comparison(msgspec.Struct, frozen=True):
    """One workload beside its ceilings, by their names."""

    rate: Summary
    ceilings: dict[str, Beside]
    cpu: Summary
    """Microseconds of the worker's processor time for a request."""
    p50: Summary
    """Milliseconds."""
    p99: Summary


def measure(scale: Scale, databases: Databases) -> dict[str, Comparison]:
    """Each workload compared with its ceilings."""
    turns: dict[str, list[Turn]] = {workload: [] for workload in WORKLOADS}
    runs = count(1)
    bare, database = databases.fresh(), databases.fresh()
    pgbench.prepare(bare)
    preload(database, scale.work)
    with (
        processes.ceiling(scale.work) as constant,
        processes.service(database, scale.work) as service,
    ):
        for _ in range(scale.rounds):
            for workload in WORKLOADS:
                turn = _turn(workload, scale.seconds, next(runs), bare, constant, service)
                turns[workload].append(turn)
    return {workload: _compare(turns[workload]) for workload in WORKLOADS}


def _turn(
    workload: str, seconds: int, number: int, bare: str, constant: Server, service: Server
) -> Turn:
    """The service between the two runs of pgbench, its nearest neighbours."""
    simple = pgbench.run(workload, bare, seconds, pgbench.SIMPLE)
    load, cpu = run_wrk(workload, service, seconds, number)
    prepared = pgbench.run(workload, bare, seconds, pgbench.PREPARED)
    answered, _ = run_wrk(workload, constant, seconds, number)
    return Turn({PGBENCH: simple, PREPARED: prepared, CONSTANT: answered.rate}, load, cpu)


def _compare(turns: list[Turn]) -> Comparison:
    rates = [turn.service.rate for turn in turns]
    ceilings = {name: [turn.ceilings[name] for turn in turns] for name in turns[0].ceilings}
    return Comparison(
        rate=summarise(rates),
        ceilings={
            name: Beside(summarise(theirs), summarise(ratios(rates, theirs)))
            for name, theirs in ceilings.items()
        },
        cpu=summarise([turn.service_cpu for turn in turns]),
        p50=summarise([turn.service.p50 / 1000 for turn in turns]),
        p99=summarise([turn.service.p99 / 1000 for turn in turns]),
    )
