"""The table of operations: every handler in it is there, and imported only when it is needed."""

import subprocess
import sys
from inspect import get_annotations, iscoroutinefunction

import pytest

from bitespeed.api.calls import Backend, Call
from bitespeed.api.http import HttpReply
from bitespeed.api.operations import OPERATIONS, PAGES, Operation

HANDLER = [Backend, Call, HttpReply]


def is_handler(operation: Operation) -> bool:
    handler = operation.load_handler()
    return iscoroutinefunction(handler) and [*get_annotations(handler).values()] == HANDLER


@pytest.mark.parametrize("operation", [*OPERATIONS, *PAGES], ids=lambda o: o.name)
def test_every_handler_exists(operation: Operation) -> None:
    assert is_handler(operation)


def test_missing_or_wrong_handler_is_noticed() -> None:
    with pytest.raises(AttributeError):
        Operation("x", "GET", "/x", "process.nothing").load_handler()
    assert not is_handler(Operation("x", "GET", "/x", "identify.submit"))


def test_names_and_routes_are_unique() -> None:
    everything = [*OPERATIONS, *PAGES]
    assert len({o.name for o in everything}) == len(everything)
    assert len({(o.method, o.path) for o in everything}) == len(everything)


def test_table_imports_no_endpoint() -> None:
    code = "import sys, bitespeed.api.dispatch; print('bitespeed.api.endpoints' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"False\n"
