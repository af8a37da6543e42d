"""Metrics, of real servers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bitespeed.service.batching import MAX_WAITING
from bitespeed.telemetry import metrics
from bitespeed.telemetry.shared_counters import SharedCounters
from support.processes import children
from support.server import Server, fresh_email, fresh_phone, serve
from support.telemetry_of_server import (
    POLL_INTERVAL,
    TIMEOUT,
    counted,
    post,
)


def test_requests_and_changes_are_counted(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        one, other = (fresh_email(), fresh_phone()), (fresh_email(), fresh_phone())
        for email, phone in (one, other, one, (one[0], other[1]), (other[0], one[1])):
            post(server, email, phone)
        post(server, None, None)
        server.ask("DELETE", "/contacts/2")
        server.ask("GET", "/nothing")
        server.raw(b"nonsense\r\n\r\n")
        found = counted(server)
    expected = {
        ("bitespeed_requests_total", "identify", "200"): 5,
        ("bitespeed_requests_total", "identify", "400"): 1,
        ("bitespeed_requests_total", "delete_contact", "204"): 1,
        ("bitespeed_requests_total", "other", "404"): 1,
        ("bitespeed_requests_total", "other", "400"): 1,
        ("bitespeed_request_seconds_count", "identify"): 6,
        ("bitespeed_request_seconds_bucket", "identify", "+Inf"): 6,
        ("bitespeed_batch_observations_sum",): 5,
        ("bitespeed_contacts_created_total",): 2,
        ("bitespeed_contacts_deleted_total",): 1,
        ("bitespeed_identities_created_total",): 2,
        ("bitespeed_identities_merged_total",): 1,
        ("bitespeed_pairs_seen_total",): 1,
        ("bitespeed_stage_seconds_count", "commit"): 5,
        ("bitespeed_queue_observations",): 0,
        ("bitespeed_queue_limit_observations",): MAX_WAITING,
        ("bitespeed_workers",): 1,
        ("bitespeed_failures_total",): 0,
    }
    assert {name: found[name] for name in expected} == expected


def test_counts_of_killed_workers_are_kept_and_added(tmp_path: Path) -> None:
    with serve(tmp_path, BITESPEED_WORKERS="2") as server:
        wait_for(server, workers=2)
        for _ in range(40):
            post(server, fresh_email(), None)
        before = counted(server)
        assert before["bitespeed_contacts_created_total",] == 40
        os.kill(max(children(server.pid)), signal.SIGKILL)
        for _ in range(20):
            answered_by_somebody(server)
        wait_for(server, workers=2, replaced=1)
        after = counted(server)
        assert after["bitespeed_contacts_created_total",] == 60
        counters = {name for name in before if name[0].endswith(("_total", "_count", "_bucket"))}
        assert all(after[name] >= before[name] for name in counters)


def answered_by_somebody(server: Server) -> None:
    """A connection that the killed worker had accepted is closed; the caller tries again."""
    email = fresh_email()
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        try:
            assert post(server, email, None).status == 200
        except OSError:
            continue
        return
    pytest.fail("Nobody answers.")


def wait_for(server: Server, workers: int, replaced: int = 0) -> None:
    """Return when so many are ready, so many of them in the place of another."""
    expected = [workers, replaced, workers * MAX_WAITING]
    names = ("workers", "worker_replacements_total", "queue_limit_observations")
    deadline = time.monotonic() + TIMEOUT
    while True:
        found = counted(server)
        if [found[f"bitespeed_{name}",] for name in names] == expected:
            return
        assert time.monotonic() < deadline, found
        time.sleep(POLL_INTERVAL)


def test_counters_of_dead_worker_are_kept_without_gauges(
    tmp_path: Path,
) -> None:
    script = f"""
import os
from contextlib import closing, suppress
from pathlib import Path
from bitespeed.model.changes import Event
from bitespeed.service.batching import MAX_WAITING
from bitespeed.telemetry import events
from bitespeed.telemetry import metrics
from bitespeed.telemetry.shared_counters import SharedCounters
counters = SharedCounters()
counter, gauge = counters.reserve(), counters.reserve(transient=True)
assert not counters.open_in(Path({str(tmp_path)!r}))
counters.values[counter] += 5
counters.values[gauge] = 7
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    all_counters = [SharedCounters(), SharedCounters()]
    for counters in all_counters:
        counters.reserve(), counters.reserve(transient=True)
    assert all_counters[0].open_in(tmp_path)
    assert all_counters[0].totals() == ([5, 0], 1)
    assert not all_counters[1].open_in(tmp_path)
    all_counters[1].values[0] += 1
    all_counters[1].values[1] = 2
    assert all_counters[0].totals() == all_counters[1].totals() == ([6, 2], 2)
    assert len(list(tmp_path.iterdir())) == 2


def test_unknown_endpoint_or_status_counts_as_other() -> None:
    counter = metrics.answered[metrics.OTHER, metrics.OTHER]
    before = counter.value
    metrics.count_request("no such endpoint", 299, 0.001)
    assert counter.value == before + 1
