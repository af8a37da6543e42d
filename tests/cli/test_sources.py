"""Facts that the command line brings are kept with their source."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from bitespeed.queues.messages import Message
from bitespeed.queues.worker import work_off
from bitespeed.service.tenants import Tenants
from support.commands import succeed
from support.stores import store_at


def sources(path: Path) -> list[tuple[str, str, str | None, str | None]]:
    statement = "select kind, source, request, label from event order by seq"
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def test_events_name_command_or_file_as_source(tmp_path: Path) -> None:
    rows = "email,phone\na@x.example,1\na@x.example,2\nb@x.example,2\nb@x.example,1\nc@x.example,\n"
    (tmp_path / "people.csv").write_text(rows)
    succeed("identify", "--email", "a@x.example", "--phone", "1", cwd=tmp_path)
    succeed("import", str(tmp_path / "people.csv"), cwd=tmp_path)
    succeed("identify", "--email", "c@x.example", "--phone", "1", cwd=tmp_path)
    assert sources(tmp_path / "bitespeed.db") == [
        ("contact.created", "cli", None, None),
        ("contact.created", "import:people.csv", None, None),
        ("contact.created", "import:people.csv", None, None),
        ("pair.seen", "import:people.csv", None, None),
        ("contact.created", "import:people.csv", None, None),
        ("identities.merged", "cli", None, None),
    ]


def test_events_of_messages_name_the_queue_as_their_source(tmp_path: Path) -> None:
    async def main() -> None:
        async with store_at(tmp_path / "people.db") as store:
            tenants = Tenants(store)
            message = Message("one", '{"email": "a@x.example"}', "x")
            await work_off(tenants, [message], None)
            await tenants.drain()

    asyncio.run(main())
    assert sources(tmp_path / "people.db") == [("contact.created", "queue", None, None)]
