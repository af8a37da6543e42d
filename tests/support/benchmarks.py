"""What tests of the benchmarks share: figures of wrk, and databases filled through the service."""

import sqlite3
from pathlib import Path

from bench import (
    data,
)
from bench.failure import BenchmarkFailed
from bench.postgres import pgbench
from bitespeed.jobs.check import check
from bitespeed.model.identifiers import observe
from bitespeed.service.service import Service
from bitespeed.stores import open_store

WRK_OUTPUT = """\
Running 1s test @ http://127.0.0.1:8201/identify
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.41ms    1.09ms  16.42ms   88.41%
    Req/Sec    13.53k     1.02k   14.86k    80.00%
  13479 requests in 1.00s, 3.10MB read
Requests/sec:  13466.41
Transfer/sec:      3.09MB
RESULT {"requests":13479,"microseconds":1000935,"bytes":3248439,"p50":2240,"p99":6120,\
"status":0,"connect":0,"read":0,"write":0,"timeout":0}
"""


def has_pgbench() -> bool:
    try:
        pgbench.require()
    except BenchmarkFailed:
        return False
    return True


def rows_of(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


async def violations(url: str) -> list[object]:
    store = await open_store(url)
    try:
        return [*await check(store)]
    finally:
        await store.close()


async def fill_by_service(url: str, contacts: int) -> None:
    """Send what fill.sql says was sent, one request at a time."""
    store = await open_store(url)
    service = Service(store)
    for number in range(1, contacts + 1):
        email, phone = data.customer(number)
        phone_of = number - 1 if number % data.LINKED == 0 else number
        await service.identify(observe(email, data.customer(phone_of)[1]))
        if number % 10 == 8:
            await service.identify(observe(data.customer(number - 1)[0], phone))
    await service.drain()
    await store.close()
