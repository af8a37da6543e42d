"""Several worker processes on one listening socket, and the supervisor that starts them.

The workers decide among themselves which of them accepts (`acceptor.py`); the supervisor accepts
nothing. It replaces a worker that ends. On SIGTERM or SIGINT it closes its own copy of the
socket first, so that the last worker to empty the queue closes the last copy. When it is killed,
the workers end by themselves.
"""

import multiprocessing
import os
import signal
import socket
import time
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from tempfile import TemporaryDirectory
from threading import Thread

from bitespeed.server.acceptor import NUMBERS_PER_WORKER, WorkerLoads
from bitespeed.server.process import SHUTDOWN_TIMEOUT, serve
from bitespeed.settings import METRICS_DIR, Settings
from bitespeed.telemetry.logs import log

RESTART_DELAY = 1.0  # seconds before a worker that failed is replaced; the next may fail too
KILL_DELAY = 5.0  # seconds beyond the time that a shutdown may take, before a worker is killed

_CONTEXT = multiprocessing.get_context("spawn")


def supervise(settings: Settings, listener: socket.socket) -> None:
    """Keep as many workers running as configured until SIGTERM or SIGINT, then end them."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    end_signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: end_signals.append(number))

    with TemporaryDirectory(prefix="bitespeed-") as folder:
        os.environ[METRICS_DIR] = folder
        _run_workers(settings, listener, woken, end_signals)


def _run_workers(
    settings: Settings, listener: socket.socket, woken: socket.socket, end_signals: list[int]
) -> None:
    numbers = _CONTEXT.RawArray("d", NUMBERS_PER_WORKER * settings.workers)
    loads = [WorkerLoads(numbers, index) for index in range(settings.workers)]
    workers = [_start(settings, listener, of_worker) for of_worker in loads]
    while not end_signals:
        wait([woken, *(worker.sentinel for worker in workers)])
        for index, worker in enumerate(workers):
            if worker.exitcode is None or end_signals:
                continue
            log.error("worker.ended", status=worker.exitcode)
            if worker.exitcode > 0:
                wait([woken], RESTART_DELAY)
            workers[index] = _start(settings, listener, loads[index])

    listener.close()
    for worker in workers:
        worker.terminate()
    end = time.monotonic() + settings.deadline + SHUTDOWN_TIMEOUT + KILL_DELAY
    for worker in workers:
        worker.join(max(0, end - time.monotonic()))
        worker.kill()


def _start(settings: Settings, listener: socket.socket, loads: WorkerLoads) -> SpawnProcess:
    worker = _CONTEXT.Process(target=_work, args=(settings, listener, loads), daemon=True)
    worker.start()
    return worker


def _work(settings: Settings, listener: socket.socket, loads: WorkerLoads) -> None:
    Thread(target=_end_with_parent, args=(settings,), daemon=True).start()
    serve(settings, listener, loads)


def _end_with_parent(settings: Settings) -> None:
    """End as after SIGTERM when the supervisor, which would send it, has been killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - a worker has one
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(settings.deadline + SHUTDOWN_TIMEOUT + KILL_DELAY)
    os._exit(1)
