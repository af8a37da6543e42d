"""The functions in the database, with a stop wherever another transaction may come between.

Their text is that of the migrations. After each statement of theirs, and at the beginning of each
block, a call of `stop` is put in, with a number of its own. There a random sleep makes rare
interleavings frequent, or a test makes one session wait until others have done what they should.

The mistakes are what a test must notice; each replaces a part of the text.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import psycopg

from bitespeed import resources

Connection = psycopg.Connection[Any]

NAP = 0.002  # seconds at most, at each stop
GATE = 1  # the advisory lock at which sessions that are to stop wait

# A sequence keeps its value when the transaction that took it is rolled back.
_STOP = """
create schema stops;
create table stops.nap (place integer primary key, seconds float8 not null);

create function stops.stop(place integer) returns boolean language plpgsql as $$
begin
    perform nextval('stops.passed_' || place);
    if current_setting('stops.at', true) = place::text then
        perform pg_advisory_xact_lock({gate});
    end if;
    perform pg_sleep(random() * n.seconds) from stops.nap n where n.place = stop.place;
    return true;
end
$$;
"""


class Mistake(NamedTuple):
    """What is replaced in the text of a function, each in one place."""

    file: str
    changes: tuple[tuple[str, str], ...]


_COMPARISON = "\n          and i.root_id = i.id and i.stamp = (change ->> 5)::bigint"
_ID = "(c ->> 0)::bigint"
_DIRECTION = "case current_setting('stops.downwards', true) when 'yes' then -1 else 1 end"
_GIVES_UP = """        if not found then
            return false;
        end if;
"""

MISTAKES = {
    "compares nothing": Mistake("lock_identities", ((_COMPARISON, ""),)),
    "compares after all locks": Mistake(
        "lock_identities",
        (
            (_COMPARISON, ""),
            (
                f"{_GIVES_UP}    end loop;\n",
                f"""    end loop;
    for change in select * from jsonb_array_elements(stored) loop
        perform 1
        from bitespeed.identity i
        where i.id = (change ->> 0)::bigint{_COMPARISON};
{_GIVES_UP}    end loop;
""",
            ),
        ),
    ),
    "locks nothing": Mistake("lock_identities", (("\n        for no key update;", ";"),)),
    "half lock downwards": Mistake(
        "lock_identities",
        ((f"order by {_ID} loop", f"order by {_ID} * {_DIRECTION} loop"),),
    ),
    "keys as they come": Mistake(
        "add_identifiers",
        (('order by v.value collate "C", v.kind collate "C"', ""),),
    ),
    "reads as of several instants": Mistake(
        "read", (("language plpgsql stable", "language plpgsql volatile"),)
    ),
}

WITH_STOPS = (
    *("read", "live_identities", "commit", "admit_commit", "lock_identities"),
    *("add_identifiers", "add_contacts", "change_identities", "remove", "erase", "add_events"),
)
"""The functions that are given stops: all of a read and of a commit."""


BREAKS = (";", " loop", " then")
"""What ends a line behind which another statement begins."""


def _statements(body: str) -> Iterator[tuple[str, str, str]]:
    """Each line, its code without a comment, and the code of its statement so far."""
    statement = ""
    for line in body.split("\n"):
        code = line.partition("--")[0].strip()
        statement = f"{statement} {code}".strip()
        yield line, code, statement
        if code.endswith(BREAKS):
            statement = ""


class Stops:
    """The functions with stops are in the database. Places are named by the text before them."""

    def __init__(self, url: str, *mistakes: str) -> None:
        """``url`` is that of a migrated database."""
        self._url = url
        self._texts: list[str] = []
        self._files: list[str] = []
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_STOP.format(gate=GATE).encode())
            for file in WITH_STOPS:
                made = [MISTAKES[name] for name in mistakes]
                text = _changed(_function(file), [m.changes for m in made if m.file == file])
                connection.execute(self._with_stops(text).encode())
                self._files += [file] * (len(self._texts) - len(self._files))
            for place in range(self.places):
                connection.execute(f"create sequence stops.passed_{place}".encode())

    @property
    def places(self) -> int:
        """How many there are."""
        return len(self._texts)

    def _with_stops(self, function: str) -> str:
        head, begin, rest = function.partition("\nbegin\n")
        body, end, tail = rest.rpartition("\nend\n$$;")
        assert begin
        assert end
        at_first = self._stop("begin")
        lines = [line + self._stop_after(*place) for line, *place in _statements(body)]
        return "".join((head, begin, at_first, "\n".join(lines), end, tail))

    def _stop_after(self, code: str, statement: str) -> str:
        """A stop if a statement ends or a block begins here and goes on behind it."""
        if statement.startswith(("return ", "raise ")) or not code.endswith(BREAKS):
            return ""
        return self._stop(code)

    def _stop(self, code: str) -> str:
        """Not ``perform``: that would change FOUND."""
        self._texts.append(code)
        return f"\nif stops.stop({len(self._texts) - 1}) then end if;\n"

    def place(self, after: str) -> int:
        """The first stop after a line that ends in this text."""
        return next(n for n, text in enumerate(self._texts) if text.endswith(after))

    def never_passed(self) -> list[tuple[str, str]]:
        """The places where nobody has been yet, with the files they are in."""
        places = enumerate(zip(self._files, self._texts, strict=True))
        with psycopg.connect(self._url, autocommit=True) as connection:
            return [where for place, where in places if not _was_passed(connection, place)]

    def make_sleepy(self, nap: float = NAP, only: int | None = None) -> None:
        """Let everybody sleep up to so many seconds at every stop, or at one only, from now on."""
        places = range(self.places) if only is None else [only]
        with psycopg.connect(self._url, autocommit=True) as connection:
            insert = "insert into stops.nap select unnest(%s::integer[]), %s"
            connection.execute(insert, [list(places), nap])

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Whoever comes to the stop that it is to wait at does so until this is left."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("select pg_advisory_lock(%s)", [GATE])
            yield


def stop_at(connection: Connection, place: int) -> None:
    """Have this session wait when it comes there, if the gate is shut then."""
    connection.execute("select set_config('stops.at', %s, false)", [str(place)])


def _was_passed(connection: Connection, place: int) -> bool:
    row = connection.execute(f"select is_called from stops.passed_{place}".encode()).fetchone()
    return row == (True,)


def _function(name: str) -> str:
    """What creates the function, in place of the one that is there."""
    script = resources.text("bitespeed.stores.postgres", f"functions/{name}.sql")
    (text,) = re.findall(r"^create or replace function .*?^\$\$;", script, re.MULTILINE | re.DOTALL)
    return text


def _changed(text: str, changes: Iterable[Iterable[tuple[str, str]]]) -> str:
    for right, wrong in chain.from_iterable(changes):
        assert text.count(right) == 1, right
        text = text.replace(right, wrong)
    return text
