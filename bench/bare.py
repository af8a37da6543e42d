"""The service without keys, limits on callers, logs and metrics, to be compared with the whole.

Run as `python -m bench.bare serve ...`, in place of `bitespeed serve ...`. The product has no such
option; its entry points are replaced before it is served:

- keys and their rates: everybody is the default tenant, and no header is looked at for it;
- limits on callers: neither the size of a head nor the time that a caller takes is kept;
- logs: no line is written about a commit or a large identity;
- metrics: no request, batch, stage or commit is counted or timed, and requests have no ids.

What is left of them is the name of the header with the request's id in each answer, and the limits
that were there from the beginning: the queue, the deadline and the size of a body.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bitespeed.api import keyring
from bitespeed.api.access import Access
from bitespeed.api.keyring import Caller
from bitespeed.cli import main
from bitespeed.server.connection import Connection
from bitespeed.service import commits, pipeline
from bitespeed.telemetry import metrics, stages
from bitespeed.telemetry.large_identities import LargeIdentities
from bitespeed.telemetry.requests import Request


def strip() -> None:
    """Replace all of it."""
    _without_keys()
    _without_limits()
    _without_logs()
    _without_metrics()


def _nothing(*_: Any) -> None:
    """What is called in place of what would have been done."""


def _without_keys() -> None:
    anybody = keyring.ANYBODY

    def admit_at_once(*_: Any) -> Caller:
        return anybody

    Access.admit_at_once = admit_at_once


def _without_limits() -> None:
    def data_received(connection: Connection, data: bytes) -> None:
        connection.parser.feed_data(data)

    Connection.data_received = data_received
    Connection.on_message_begin = HttpToolsProtocol.on_message_begin


def _without_logs() -> None:
    commits.report_commit = _nothing
    LargeIdentities.check = _nothing


def _without_metrics() -> None:
    always: AbstractContextManager[None] = nullcontext()

    def no_stage(_: stages.Stage) -> AbstractContextManager[None]:
        return always

    def begin(request: Request, _: Mapping[bytes, bytes]) -> None:
        request.id, request.span = b"", None

    commits.stage = pipeline.stage = no_stage
    stages.gathered = stages.record_lookup = _nothing
    metrics.Gauge.set = _nothing
    Request.__init__ = begin
    Request.answered = _nothing


if __name__ == "__main__":
    strip()
    main()
