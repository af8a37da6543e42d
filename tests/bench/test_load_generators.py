"""Figures of wrk and pgbench are read, and a run that failed leaves none."""

from pathlib import Path

import pytest

from bench import (
    wrk,
)
from bench.failure import BenchmarkFailed
from bench.postgres import pgbench
from support.benchmarks import WRK_OUTPUT, has_pgbench

ROOT = Path(__file__).parents[2]
NOWHERE = "postgresql://postgres@127.0.0.1:1/postgres"


def test_figures_of_wrk_are_read() -> None:
    load = wrk.parse(WRK_OUTPUT)
    assert (load.requests, load.p50, load.p99) == (13479, 2240, 6120)
    assert load.rate == pytest.approx(13466.4, abs=0.1)


@pytest.mark.parametrize("failure", ["status", "connect", "read", "write", "timeout"])
def test_single_failed_request_leaves_no_figures(failure: str) -> None:
    with pytest.raises(BenchmarkFailed, match=f"1 x {failure}"):
        wrk.parse(WRK_OUTPUT.replace(f'"{failure}":0', f'"{failure}":1'))


def test_wrk_without_an_answer_leaves_no_figures() -> None:
    with pytest.raises(BenchmarkFailed, match="none"):
        wrk.parse(WRK_OUTPUT.replace('"requests":13479', '"requests":0'))


def test_output_of_wrk_is_quoted_when_it_fails() -> None:
    with pytest.raises(BenchmarkFailed, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused")


def test_missing_wrk_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BenchmarkFailed, match="apt-get install wrk"):
        wrk.require()


PGBENCH = """\
pgbench (15.20 (Debian 15.20-0+deb12u1))
transaction type: select.pgbench
scaling factor: 1
query mode: simple
number of clients: 32
number of threads: 1
maximum number of tries: 1
duration: 1 s
number of transactions actually processed: 37130
number of failed transactions: 0 (0.000%)
latency average = 0.771 ms
initial connection time = 109.010 ms
tps = 41531.761328 (without initial connection time)
"""

PGBENCH_13 = """\
number of transactions actually processed: 37130
latency average = 0.862 ms
tps = 37129.153219 (including connections establishing)
tps = 41531.761328 (excluding connections establishing)
"""


@pytest.mark.parametrize("output", [PGBENCH, PGBENCH_13])
def test_rate_of_pgbench_leaves_out_connecting(output: str) -> None:
    assert pgbench.parse(output) == pytest.approx(41531.76, abs=0.01)


def test_single_failed_transaction_leaves_no_figures() -> None:
    with pytest.raises(BenchmarkFailed, match="Not every transaction"):
        pgbench.parse(PGBENCH.replace("transactions: 0 (0.000%)", "transactions: 1 (0.003%)"))


@pytest.mark.parametrize(
    "output", [PGBENCH.replace("tps = 41531.761328", "tps = 0.000000"), "connection refused"]
)
def test_output_of_pgbench_is_quoted_when_nothing_ran(output: str) -> None:
    with pytest.raises(BenchmarkFailed, match=r"initial connection time|connection refused"):
        pgbench.parse(output)


def test_output_of_pgbench_is_quoted_when_it_fails() -> None:
    if not has_pgbench():
        pytest.skip("needs pgbench")
    with pytest.raises(BenchmarkFailed, match=r"pgbench failed:.*127\.0\.0\.1"):
        pgbench.run("repeats", NOWHERE, seconds=1)


def test_missing_pgbench_is_named_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(pgbench, "DEBIAN", tmp_path)
    with pytest.raises(BenchmarkFailed, match="apt-get install postgresql"):
        pgbench.require()
    for version in ("9.6", "15", "14"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "pgbench").touch()
    assert pgbench.require() == tmp_path / "15" / "bin" / "pgbench"
