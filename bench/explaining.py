"""How long "why" takes in a very large identity, and what `POST /identify` feels of it.

`python -m bench.explaining` asks about one person of 100,000 contacts, by turns without load and
beside the mix of wrk. It ends with status 1 if a bound was broken. Needs wrk on the PATH.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, nullcontext
from http.client import HTTPConnection
from pathlib import Path

import msgspec

from bench import data, processes, wrk
from bench.data import Row
from bench.postgres.databases import databases
from bench.processes import Server
from bench.scale import CONNECTIONS, SEED
from bench.workloads import arguments_of, preload

MAX_P95 = 150  # milliseconds for one question, over HTTP
MAX_RATIO = 1.3  # of the p99 of `POST /identify`, beside questions and without

CONTACTS = 100_000
ROUNDS = 7
SECONDS = 5  # of each run of wrk
RATE = 5  # questions a second: some people at a console, each with a click a second
HUBS, BRANCHES = 50, 4


class Round(msgspec.Struct, frozen=True):
    """Milliseconds: p99 of `POST /identify` without questions and beside them, and of these."""

    without: float
    beside: float
    questions: list[float]


def star(contacts: int) -> Iterator[Row]:
    """One phone number with a hundred thousand emails: a shop's landline."""
    return ((f"s{number}@x.zz", "70000000000") for number in range(contacts))


def hubs(contacts: int) -> Iterator[Row]:
    """A few phone numbers, each with thousands of emails, that one email joins in the end."""
    for number in range(contacts):
        yield f"h{number}@x.zz", str(71_000_000_000 + number % HUBS)
    yield from (("h0@x.zz", str(71_000_000_000 + hub)) for hub in range(HUBS))


def tree(contacts: int) -> Iterator[Row]:
    """Each customer gave the phone number of an earlier one once: long chains, short steps."""
    yield "t0@x.zz", "72000000000"
    for number in range(1, contacts):
        yield f"t{number}@x.zz", str(72_000_000_000 + number)
        yield f"t{number}@x.zz", str(72_000_000_000 + (number - 1) // BRANCHES)


SHAPES = {"star": star, "hubs": hubs, "tree": tree}


class Asking:
    """An agent who asks about two emails of one person after the other, on one connection."""

    def __init__(self, port: int, shape: str, contacts: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)
        self._letter = shape[0]
        self._emails = contacts
        self._chance = random.Random(SEED)
        self.chains: Counter[str] = Counter()

    def ask(self) -> float:
        """Milliseconds of one question."""
        pair = self._chance.sample(range(self._emails), 2)
        between = [{"email": f"{self._letter}{number}@x.zz"} for number in pair]
        start = time.perf_counter()
        self._connection.request("POST", "/why", json.dumps({"between": between}))
        answer = self._connection.getresponse().read()
        millis = 1000 * (time.perf_counter() - start)
        why = json.loads(answer)
        assert why["together"], answer
        self.chains["none found" if why["chain"] is None else "found"] += 1
        return millis

    def person(self) -> list[int]:
        """The ids of all contacts of the person."""
        body = json.dumps({"email": f"{self._letter}0@x.zz"})
        self._connection.request("POST", "/contacts/lookup", body)
        contact = json.loads(self._connection.getresponse().read())["contact"]
        return [contact["primaryContatctId"], *contact["secondaryContactIds"]]

    def ask_for(self, seconds: float) -> list[float]:
        """Milliseconds of each question, `RATE` a second."""
        end = time.monotonic() + seconds
        millis: list[float] = []
        while (begun := time.monotonic()) < end:
            millis.append(self.ask())
            time.sleep(max(0.0, 1 / RATE - (time.monotonic() - begun)))
        return millis

    def close(self) -> None:
        self._connection.close()


def fill(database: str, shape: str, contacts: int, folder: Path) -> None:
    """The person, and the customers of the mix."""
    file = folder / "person.csv"
    data.write_csv(file, SHAPES[shape](contacts))
    processes.import_file(file, database)
    preload(database, folder)


def one_round(server: Server, asking: Asking, number: int) -> Round:
    without = wrk.run("mix", server.url, SECONDS, CONNECTIONS, *arguments_of("mix", 2 * number))
    arguments = arguments_of("mix", 2 * number + 1)
    with wrk.running("mix", server.url, SECONDS, CONNECTIONS, *arguments) as process:
        questions = asking.ask_for(SECONDS - 0.5)
        beside = wrk.finish(process, SECONDS)
    return Round(without.p99 / 1000, beside.p99 / 1000, questions)


def measure(server: Server, shape: str, contacts: int, rounds: int) -> list[str]:
    """Print the figures; the bounds that did not hold, in words."""
    with closing(Asking(server.port, shape, contacts)) as asking:
        alone = [asking.ask() for _ in range(100)][10:]
        measured = [one_round(server, asking, number) for number in range(rounds)]
        chains = dict(asking.chains)
    asked = [millis for one in measured for millis in one.questions]
    p95, loaded = statistics.quantiles(alone, n=20)[18], statistics.quantiles(asked, n=20)[18]
    without = statistics.median(one.without for one in measured)
    beside = statistics.median(one.beside for one in measured)
    ratio = statistics.median(one.beside / one.without for one in measured)
    print(
        f"{shape}: a question takes {statistics.median(alone):.1f} ms at p50, {p95:.1f} at p95,"
        f" beside the mix {statistics.median(asked):.1f} and {loaded:.1f} (chains: {chains});"
        f" p99 of identify {without:.1f} ms without, {beside:.1f} beside: {ratio:.2f} times",
        flush=True,
    )
    found: list[str] = []
    if loaded > MAX_P95:
        found.append(f"{shape}: a question took {loaded:.0f} ms at p95")
    if ratio > MAX_RATIO:
        found.append(f"{shape}: identify took {ratio:.2f} times as long at p99")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.explaining", description=__doc__)
    parser.add_argument(
        "--contacts", type=int, default=CONTACTS, metavar="N", help=f"[{CONTACTS:,}]"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"[{ROUNDS}]")
    parser.add_argument("--only", nargs="+", choices=SHAPES, metavar="SHAPE", help="[all three]")
    parser.add_argument("--postgres", metavar="URL", help="of a PostgreSQL server  [on SQLite]")
    options = parser.parse_args()
    wrk.require()
    broken: list[str] = []
    with databases(options.postgres, keep=False) if options.postgres else nullcontext() as made:
        for shape in options.only or SHAPES:
            with tempfile.TemporaryDirectory() as folder:
                work = Path(folder)
                database = data.url(work / "contacts.db") if made is None else made.fresh()
                fill(database, shape, options.contacts, work)
                with processes.service(database, work) as server:
                    broken += measure(server, shape, options.contacts, options.rounds)
    sys.exit("\n".join(broken))


if __name__ == "__main__":
    main()
