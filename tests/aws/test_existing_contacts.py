"""The functions beside a table that nobody has adopted."""

from pathlib import Path

from bitespeed.errors import NotAdopted
from bitespeed.stores.options import Options
from bitespeed.stores.postgres.bulk.adopt import AdoptOptions, adopt
from support.adoption import LIVELY, nothing
from support.lambda_emulator import emulated, sqs_event
from support.published_table import fill, query

QUEUE = "bitespeed.aws.queue.handler"


def test_functions_refuse_until_the_table_is_adopted(
    package: Path, tmp_path: Path, url: str
) -> None:
    fill(url, LIVELY)
    event = sqs_event('{"email": "a@x"}')
    with (
        emulated(package, tmp_path, direct=url, DATABASE_URL=url) as function,
        emulated(package, tmp_path, QUEUE, direct=url, DATABASE_URL=url) as worker,
    ):
        for method, path, body in (
            ("POST", "/identify", b'{"email": "a@x"}'),
            ("GET", "/ready", None),
        ):
            reply = function.ask(method, path, body, {"Content-Type": "application/json"})
            assert (reply.status, reply.error) == (503, str(NotAdopted()))
        assert worker.invoke(event) == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
        assert query(url, "select count(*) from bitespeed.contact_record") == [(0,)]
        adopt(url, Options(), AdoptOptions(), nothing, nothing)
        assert function.identify("a@x")["primaryContatctId"] == 1
        assert worker.invoke(event) == {"batchItemFailures": []}


def test_functions_begin_beside_the_table_when_set(package: Path, tmp_path: Path, url: str) -> None:
    fill(url, LIVELY)
    ignoring = {"DATABASE_URL": url, "BITESPEED_IGNORE_EXISTING": "true"}
    with emulated(package, tmp_path, direct=url, **ignoring) as function:
        assert function.identify("a@x")["secondaryContactIds"] == []
