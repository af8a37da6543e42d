"""`python -m bench`."""

import argparse
import datetime as dt
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

from bench import charts, data, report, results, wrk
from bench.failure import BenchmarkFailed
from bench.processes import ROOT
from bench.results import Results
from bench.scale import Scale

PARTS = {"ceilings": True, "imports": False, "size": True, "soak": True}  # True: needs wrk
OUTPUT = ROOT / "docs" / "benchmarks"
WORK = Path(tempfile.gettempdir()) / "bitespeed-bench"

ABOUT = """\
How near does the service come to what this machine could do at best?

  ceilings  throughput and processor time of repeats, new customers and a 90/10 mix, beside
            the same HTTP server answering a constant; and the mix's p50 and p99
  imports   `bitespeed import` of a large CSV file, beside `executemany` of the rows it wrote
  size      p50 of repeats with ten million contacts, beside that with ten thousand
  soak      memory of the server through ten minutes of the mix

Without a PART: ceilings, imports and size, ten minutes or so in all. The figures go to
docs/benchmarks as JSON, a page and charts; a part measured alone replaces its own figures there.
`report` draws them again without measuring. Needs wrk on the PATH (the package wrk of Debian and
Ubuntu), but for imports and report. Run it on an otherwise idle machine.
"""
EXAMPLES = """\
examples:
  python -m bench --quick                 a minute; see that all of it works, write nothing
  python -m bench                         the figures in docs/benchmarks/sqlite.md
  python -m bench ceilings --rounds 40    surer figures on a noisy machine
  python -m bench size --keep             leave the large database for the next time
  python -m bench soak --minutes 60       docs/benchmarks/soak.md
"""

QUICK = {
    "rounds": 2,
    "rows": 20_000,
    "imports": 1,
    "big_contacts": 100_000,
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
    parts = [*PARTS, "report"]
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(parts)}")
    parser.add_argument("--quick", action="store_true", help="a few seconds each; proves nothing")
    add = parser.add_argument
    add("--rounds", type=int, metavar="N", help="turns of ceilings and of size  [16]")
    add("--seconds", type=int, metavar="N", help="of each run in a round  [1]")
    add("--rows", type=int, metavar="N", help="of the import  [1000000]")
    add("--imports", type=int, metavar="N", help="turns of imports  [3]")
    add("--big-contacts", type=int, metavar="N", help="in the large database  [10000000]")
    add("--minutes", type=float, metavar="N", help="of the soak  [10]")
    add("--date", help="to be written into the report  [today]")
    add("--output", type=Path, metavar="DIR", help="[docs/benchmarks; with --quick: nowhere]")
    add("--work-dir", type=Path, metavar="DIR", default=WORK, help=f"for databases  [{WORK}]")
    add("--keep", action="store_true", help="do not delete the large database afterwards")
    return parser


def _run(options: argparse.Namespace) -> None:
    parts = options.parts or ["ceilings", "imports", "size"]
    for part in parts:
        if part not in PARTS and part != "report":
            raise BenchmarkFailed(f"There is no part {part}; see python -m bench --help")
    if any(PARTS.get(part) for part in parts):
        wrk.require()
    output = options.output or (None if options.quick else OUTPUT)
    found = Results() if output is None else results.load(output / "sqlite.json")
    date = options.date or dt.datetime.now(tz=dt.UTC).date().isoformat()
    with _work_folder(options.work_dir, keep=options.keep) as (scratch, cache):
        scale = _scale(options, scratch)
        for part in parts:
            if part != "report":
                _measure(found, part, date, scale, cache)
    _tell(found)
    if output is not None:
        _write(found, output)


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


def _measure(found: Results, part: str, date: str, scale: Scale, cache: Path) -> None:
    print(f"{part} ...", end=" ", file=sys.stderr, flush=True)
    start = time.monotonic()
    results.measure(found, part, date, scale, cache)
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)


def _tell(found: Results) -> None:
    for row in report.rows(found):
        print(f"{row.what}: {row.measured.replace('**', '')}; {row.spread}")
    if found.soak is not None:
        print(report.soak_line(found.soak.figures))


def _write(found: Results, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    results.save(found, output / "sqlite.json")
    if report.rows(found):
        (output / "sqlite.md").write_text(report.page(found), encoding="utf-8")
        charts.draw(found, output / "sqlite.png")
    if found.soak is not None:
        (output / "soak.md").write_text(report.soak_page(found.soak), encoding="utf-8")
        charts.draw_soak(found.soak.figures, output / "soak.png")
    print(f"Written to {output}", file=sys.stderr)


if __name__ == "__main__":
    main()
