"""What is sent to a server: the workloads of wrk, and the customers they suppose to be known."""

from pathlib import Path

from bench import data, processes, wrk
from bench.processes import Server
from bench.scale import CONNECTIONS, PRELOADED, SEED

WORKLOADS = ("repeats", "new", "mix")

_NEW_FROM, _NEW_PER_RUN = 10**10, 10**8  # numbers of new customers; those of other runs are not new


def preload(database: str, folder: Path) -> None:
    """Bring `PRELOADED` customers into the database at this URL, by the real import."""
    file = folder / "preload.csv"
    data.write_csv(file, data.customers(PRELOADED))
    processes.import_file(file, database)


def arguments_of(workload: str, run: int) -> list[int]:
    """What the Lua script of the workload takes; no two runs share a new customer."""
    new = _NEW_FROM + run * _NEW_PER_RUN
    known = [SEED + run, PRELOADED]
    return {"repeats": [*known, 0], "new": [new], "mix": [*known, new]}[workload]


def run(workload: str, server: Server, seconds: int, number: int) -> tuple[wrk.Load, float]:
    """One run, its number unlike that of any other on the same database.

    With it the microseconds of processor time that the server took for a request.
    """
    cpu = server.cpu()
    arguments = arguments_of(workload, number)
    load = wrk.run(workload, server.url, seconds, CONNECTIONS, *arguments, key=server.key)
    return load, (server.cpu() - cpu) * 1e6 / load.requests
