"""`python -m bench`."""

import argparse
import datetime as dt
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType

from bench import data, pages, parts
from bench.failure import BenchmarkFailed
from bench.parts import PARTS, USUAL
from bench.processes import ROOT
from bench.results import Results
from bench.scale import Scale

OUTPUT = ROOT / "docs" / "benchmarks"
WORK = Path(tempfile.gettempdir()) / "bitespeed-bench"
SERVER = "postgresql://postgres@127.0.0.1:5432/postgres"

ABOUT = """\
How near does the service come to what this machine could do at best?

  ceilings    throughput and processor time of repeats, new customers and a 90/10 mix, beside
              the same HTTP server answering a constant; and the mix's p50 and p99
  imports     `bitespeed import` of a large CSV file, beside `executemany` of the rows it wrote
  size        p50 of repeats with ten million contacts, beside that with ten thousand
  production  throughput with keys, limits, logs and metrics, beside the service without them
  soak        memory of the server through ten minutes of the mix

and on a PostgreSQL server on this machine:

  postgres          throughput beside pgbench with a SELECT or an INSERT for each request
  postgres-workers  throughput of two and of four workers beside that of one
  postgres-size     as size
  postgres-cache    repeats with Redis in front, without, and with one that is away
  postgres-merge    a person of 100,000 contacts merged under an older one: time and WAL

Programs of their own: `python -m bench.hostile` watches memory and a healthy client beside hostile
ones, `python -m bench.explaining` asks why two are one person of 100,000 contacts.

Without a PART: all but the soak, half an hour or so. The figures go to docs/benchmarks as JSON, a
page and charts for each store; a part measured alone replaces its own figures there. `report`
draws them again without measuring. Needs wrk on the PATH (the package wrk of Debian and Ubuntu),
but for imports, postgres-merge and report; postgres needs pgbench and postgres-cache redis-server
as well. Run it on an otherwise
idle machine and server.

On the server it makes databases called bitespeed_bench_..., as a user who may do that and force a
checkpoint, and drops them at the end; that of ten million contacts takes some 7 GB.
"""
EXAMPLES = """\
examples:
  python -m bench --quick                 two minutes; see that all of it works, write nothing
  python -m bench                         the figures in docs/benchmarks
  python -m bench production              what keys, limits, logs and metrics cost
  python -m bench ceilings imports size production   all in docs/benchmarks/sqlite.md
  python -m bench ceilings --rounds 40    surer figures on a noisy machine
  python -m bench size --keep             leave the large database for the next time
  python -m bench postgres --postgres postgresql://bench:secret@127.0.0.1:5433/postgres
  python -m bench soak --minutes 60       docs/benchmarks/soak.md
"""

QUICK = {
    "rounds": 2,
    "rows": 20_000,
    "imports": 1,
    "big_contacts": 100_000,
    "merges": 2,
    "merge_contacts": 20_000,
    "minutes": 0.1,
    "warm_up": 1.0,
}


def main() -> None:
    """Measure, write, and clean up, also when interrupted."""
    signal.signal(signal.SIGTERM, _terminate)
    options = _parser().parse_args()
    try:
        _run(options)
    except BenchmarkFailed as failure:
        sys.exit(f"bench: {failure}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted; nothing was written")


def _terminate(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = ", ".join([*PARTS, "report"])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {known}")
    parser.add_argument("--quick", action="store_true", help="a few seconds each; proves nothing")
    add = parser.add_argument
    add("--rounds", type=int, metavar="N", help="turns of all parts that take turns  [16]")
    add("--seconds", type=int, metavar="N", help="of each run in a round  [1]")
    add("--rows", type=int, metavar="N", help="of the import  [1000000]")
    add("--imports", type=int, metavar="N", help="turns of imports  [3]")
    add("--big-contacts", type=int, metavar="N", help="in the large database  [10000000]")
    add("--merges", type=int, metavar="N", help="of postgres-merge, in each way  [8]")
    add("--merge-contacts", type=int, metavar="N", help="of each of these  [100000]")
    add("--minutes", type=float, metavar="N", help="of the soak  [10]")
    add("--date", help="to be written into the report  [today]")
    add("--output", type=Path, metavar="DIR", help="[docs/benchmarks; with --quick: nowhere]")
    add("--work-dir", type=Path, metavar="DIR", default=WORK, help=f"for databases  [{WORK}]")
    server = os.environ.get("TEST_DATABASE_URL") or SERVER
    add("--postgres", metavar="URL", default=server, help=f"[TEST_DATABASE_URL, else {SERVER}]")
    add("--keep", action="store_true", help="do not delete the large databases afterwards")
    return parser


def _run(options: argparse.Namespace) -> None:
    wanted = options.parts or USUAL
    measured = [name for name in wanted if name != "report"]
    parts.require(measured)
    output = options.output or (None if options.quick else OUTPUT)
    kinds = [*pages.PAGES] if "report" in wanted else [PARTS[name].kind for name in measured]
    found = {kind: kind() if output is None else pages.read(kind, output) for kind in kinds}
    with (
        _work_folder(options.work_dir, keep=options.keep) as (scratch, cache),
        parts.site(
            measured, _scale(options, scratch), cache, options.postgres, keep=options.keep
        ) as site,
    ):
        for name in measured:
            _measure(found[PARTS[name].kind], name, options.date or _today(), site)
    for results in found.values():
        print(*pages.summary_lines(results), sep="\n")
        if output is not None:
            pages.write(results, output)
    if output is not None:
        print(f"Written to {output}", file=sys.stderr)


def _today() -> str:
    return dt.datetime.now(tz=dt.UTC).date().isoformat()


def _scale(options: argparse.Namespace, scratch: Path) -> Scale:
    given = {
        field.name: getattr(options, field.name)
        for field in fields(Scale)
        if getattr(options, field.name, None) is not None
    }
    return replace(Scale(work=scratch), **{**(QUICK if options.quick else {}), **given})


@contextmanager
def _work_folder(folder: Path, *, keep: bool) -> Iterator[tuple[Path, Path]]:
    """A folder for this run, deleted in any case, and one for what may be kept."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="run-", dir=folder)).resolve()
    try:
        yield scratch, folder.resolve()
    finally:
        shutil.rmtree(scratch)
        for database in folder.glob(f"{data.CACHED}*.db"):
            if not keep:
                data.remove(database)
        if not any(folder.iterdir()):
            folder.rmdir()


def _measure(found: Results, name: str, date: str, site: parts.Site) -> None:
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    start = time.monotonic()
    setattr(found, PARTS[name].name, parts.measure(name, date, site))
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
