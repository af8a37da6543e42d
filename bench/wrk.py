"""Load through wrk (https://github.com/wg/wrk), and what it says about it."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.failure import BenchmarkFailed

_SCRIPTS = Path(__file__).parent / "lua"
_MARK = "RESULT "
_GRACE = 30  # seconds beyond the run until wrk is given up


class Load(msgspec.Struct, frozen=True):
    """What one run of wrk saw; latencies in microseconds."""

    requests: int
    microseconds: int
    bytes: int
    p50: int
    p99: int
    status: int
    """Answers that were refusals or failures."""
    connect: int
    read: int
    write: int
    timeout: int

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests * 1e6 / self.microseconds


def require() -> None:
    """Raises `BenchmarkFailed` when wrk is not installed."""
    if shutil.which("wrk") is None:
        raise BenchmarkFailed(
            "wrk is not on the PATH. It is the package wrk of Debian, Ubuntu, Fedora and Homebrew:"
            " sudo apt-get install wrk"
        )


def run(
    script: str, url: str, seconds: int, connections: int, *arguments: int, key: str | None = None
) -> Load:
    """One run with a script of bench/lua, each request with the API key if there is one.

    Raises `BenchmarkFailed` unless all went well.
    """
    with running(script, url, seconds, connections, *arguments, key=key) as process:
        return finish(process, seconds)


@contextmanager
def running(
    script: str, url: str, seconds: int, connections: int, *arguments: int, key: str | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A run that has begun, to be given to `finish`; it ends with the block at the latest."""
    headers = [] if key is None else ["-H", f"Authorization: Bearer {key}"]
    with subprocess.Popen(
        [
            *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"),
            *headers,
            *("-s", f"{script}.lua", url, "--", *map(str, arguments)),
        ],
        cwd=_SCRIPTS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # nothing happens where it has ended


def finish(process: subprocess.Popen[str], seconds: int) -> Load:
    """Wait for the end of a run; see `run`."""
    try:
        output, _ = process.communicate(timeout=seconds + _GRACE)
    except subprocess.TimeoutExpired:
        raise BenchmarkFailed("wrk did not come to its end in time") from None
    return parse(output)


def parse(output: str) -> Load:
    """The figures in what wrk printed. Raises `BenchmarkFailed` unless every answer was good."""
    lines = [line for line in output.splitlines() if line.startswith(_MARK)]
    if len(lines) != 1:
        raise BenchmarkFailed(f"wrk did not come to its end: {output[-2000:]}")
    load = msgspec.json.decode(lines[0].removeprefix(_MARK), type=Load)
    failures = {
        name: getattr(load, name)
        for name in ("status", "connect", "read", "write", "timeout")
        if getattr(load, name)
    }
    if failures or not load.requests:
        counts = ", ".join(f"{count} x {name}" for name, count in failures.items())
        raise BenchmarkFailed(f"Not every request was answered with success: {counts or 'none'}")
    return load
