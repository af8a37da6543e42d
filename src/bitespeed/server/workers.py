"""Several server processes on one listening socket, and the one that looks after them.

Which of them accepts is settled among themselves (`turns`); this process accepts nothing.
A worker that ends is replaced. When this process is asked to end, it first lets go of the socket,
so that the last worker to empty it closes it. When it is killed, the workers end by themselves.
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

from bitespeed.server.acceptor import NUMBERS, Roster
from bitespeed.server.process import DRAIN, serve
from bitespeed.settings import METRICS_DIR, Settings
from bitespeed.telemetry.logs import log

PAUSE = 1.0  # seconds before a worker is replaced that failed; it may fail again
GRACE = 5.0  # seconds beyond the time that a shutdown may take, until a worker is killed

_CONTEXT = multiprocessing.get_context("spawn")


def supervise(settings: Settings, listener: socket.socket) -> None:
    """Keep as many workers as are wanted until SIGTERM or SIGINT, then have them end."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    asked_to_end: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked_to_end.append(number))

    with TemporaryDirectory(prefix="bitespeed-") as folder:
        os.environ[METRICS_DIR] = folder
        _look_after(settings, listener, woken, asked_to_end)


def _look_after(
    settings: Settings, listener: socket.socket, woken: socket.socket, asked_to_end: list[int]
) -> None:
    told = _CONTEXT.RawArray("d", NUMBERS * settings.workers)
    rosters = [Roster(told, place) for place in range(settings.workers)]
    workers = [_start(settings, listener, roster) for roster in rosters]
    while not asked_to_end:
        wait([woken, *(worker.sentinel for worker in workers)])
        for place, worker in enumerate(workers):
            if worker.exitcode is None or asked_to_end:
                continue
            log.error("worker.ended", status=worker.exitcode)
            if worker.exitcode > 0:
                wait([woken], PAUSE)
            workers[place] = _start(settings, listener, rosters[place])

    listener.close()
    for worker in workers:
        worker.terminate()
    end = time.monotonic() + settings.deadline + DRAIN + GRACE
    for worker in workers:
        worker.join(max(0, end - time.monotonic()))
        worker.kill()


def _start(settings: Settings, listener: socket.socket, roster: Roster) -> SpawnProcess:
    worker = _CONTEXT.Process(target=_work, args=(settings, listener, roster), daemon=True)
    worker.start()
    return worker


def _work(settings: Settings, listener: socket.socket, roster: Roster) -> None:
    Thread(target=_end_with_parent, args=(settings,), daemon=True).start()
    serve(settings, listener, roster)


def _end_with_parent(settings: Settings) -> None:
    """End, answering what was accepted, when whoever would ask for it has been killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - a worker has one
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(settings.deadline + DRAIN + GRACE)
    os._exit(1)
