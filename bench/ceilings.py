"""Throughput and processor time beside the ceiling: uvicorn answering a constant.

Many short runs take turns, ceiling and service, so that both see the machine in the same
mood; each is compared with its neighbour alone.
"""

from itertools import count
from pathlib import Path

import msgspec

from bench import data, processes, workloads, wrk
from bench.figures import Summary, ratios, summarise
from bench.scale import Scale
from bench.workloads import WORKLOADS


class Pair(msgspec.Struct):
    """A workload on the ceiling and then on the service."""

    ceiling: wrk.Load
    ceiling_cpu: float
    """Microseconds of processor time for each request."""
    service: wrk.Load
    service_cpu: float


class Comparison(msgspec.Struct, frozen=True):
    """One workload beside its ceiling; both shares are below 1 and grow as it gets better."""

    ceiling_rate: Summary
    service_rate: Summary
    share: Summary
    ceiling_cpu: Summary
    service_cpu: Summary
    cpu_share: float
    p50: Summary
    """Milliseconds, at the service."""
    p99: Summary
    ceiling_bytes: float
    """Of an average answer with its headers."""
    service_bytes: float


def measure(scale: Scale) -> dict[str, Comparison]:
    """Each workload compared with the ceiling."""
    pairs: dict[str, list[Pair]] = {workload: [] for workload in WORKLOADS}
    runs = count(1)
    with (
        processes.ceiling(scale.work) as ceiling,
        processes.service(data.url(preloaded(scale.work)), scale.work) as service,
    ):
        for _ in range(scale.rounds):
            for workload in WORKLOADS:
                number = next(runs)
                pairs[workload].append(
                    Pair(
                        *workloads.run(workload, ceiling, scale.seconds, number),
                        *workloads.run(workload, service, scale.seconds, number),
                    )
                )
    return {workload: _compare(pairs[workload]) for workload in WORKLOADS}


def preloaded(folder: Path) -> Path:
    """A new file with the customers that the workloads suppose to be known."""
    database = folder / "preloaded.db"
    data.remove(database)
    workloads.preload(data.url(database), folder)
    return database


def _compare(pairs: list[Pair]) -> Comparison:
    ceiling_rates = [pair.ceiling.rate for pair in pairs]
    service_rates = [pair.service.rate for pair in pairs]
    ceiling_cpu = summarise([pair.ceiling_cpu for pair in pairs])
    service_cpu = summarise([pair.service_cpu for pair in pairs])
    return Comparison(
        ceiling_rate=summarise(ceiling_rates),
        service_rate=summarise(service_rates),
        share=summarise(ratios(service_rates, ceiling_rates)),
        ceiling_cpu=ceiling_cpu,
        service_cpu=service_cpu,
        cpu_share=ceiling_cpu.median / service_cpu.median,
        p50=summarise([pair.service.p50 / 1000 for pair in pairs]),
        p99=summarise([pair.service.p99 / 1000 for pair in pairs]),
        ceiling_bytes=_bytes([pair.ceiling for pair in pairs]),
        service_bytes=_bytes([pair.service for pair in pairs]),
    )


def _bytes(loads: list[wrk.Load]) -> float:
    return sum(load.bytes for load in loads) / sum(load.requests for load in loads)
