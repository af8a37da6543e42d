"""What PostgreSQL itself answers to pgbench: the ceilings of what can be built upon it."""

import re
import shutil
import subprocess
from pathlib import Path

from bench import data
from bench.failure import BenchmarkFailed
from bench.postgres import databases
from bench.scale import CONNECTIONS, PRELOADED

_SCRIPTS = Path(__file__).parent
DEBIAN = Path("/usr/lib/postgresql")  # <version>/bin, of which Debian puts little on the PATH
_GRACE = 30  # seconds beyond the run until pgbench is given up
_TPS = re.compile(
    r"^tps = ([0-9.]+) \((?:without initial connection time|excluding connections establishing)\)$",
    re.MULTILINE,
)
_FAILED = re.compile(r"^number of failed transactions: ([0-9]+) ", re.MULTILINE)

SCRIPTS = {
    "repeats": ("select.pgbench@1",),
    "new": ("insert.pgbench@1",),
    "mix": ("select.pgbench@9", "insert.pgbench@1"),
}
"""What takes the place of each workload, with the weights of its statements."""

SIMPLE, PREPARED = "simple", "prepared"  # protocols; pgbench speaks the first by default


def require() -> Path:
    """Where pgbench is. Raises `BenchmarkFailed` when it is not installed."""
    on_path = shutil.which("pgbench")
    if on_path is not None:
        return Path(on_path)
    found = sorted(DEBIAN.glob("*/bin/pgbench"), key=lambda p: float(p.parts[-3]))
    if not found:
        raise BenchmarkFailed(
            "pgbench is neither on the PATH nor below /usr/lib/postgresql. It comes with the"
            " PostgreSQL server, in Debian and Ubuntu with the package postgresql, in Fedora with"
            " postgresql-contrib: sudo apt-get install postgresql"
        )
    return found[-1]


def prepare(url: str) -> None:
    """Make the tables of the scripts in an empty database."""
    databases.run(url, "pgbench.sql", {"first": data.FIRST, "contacts": PRELOADED})


def run(workload: str, url: str, seconds: int, protocol: str = SIMPLE) -> float:
    """Transactions per second of one run. Raises `BenchmarkFailed` unless all went well."""
    command = [
        *(require(), "-n", "-c", CONNECTIONS, "-T", seconds, "-M", protocol),
        *(part for script in SCRIPTS[workload] for part in ("-f", script)),
        url,
    ]
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=_SCRIPTS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds + _GRACE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkFailed("pgbench did not come to its end in time") from None
    if done.returncode:
        raise BenchmarkFailed(f"pgbench failed: {done.stdout[-2000:]}")
    return parse(done.stdout)


def parse(output: str) -> float:
    """The transactions per second in what pgbench printed, without the time to connect.

    Raises `BenchmarkFailed` unless every transaction succeeded.
    """
    rates = _TPS.findall(output)
    if len(rates) != 1 or not float(rates[0]):
        raise BenchmarkFailed(f"pgbench did not come to its end: {output[-2000:]}")
    if any(map(int, _FAILED.findall(output))):
        raise BenchmarkFailed(f"Not every transaction of pgbench succeeded: {output[-2000:]}")
    return float(rates[0])
