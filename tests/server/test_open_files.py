"""More connections than the system lets a process open: somebody new is served all the same."""

from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from bitespeed.server.open_files import RESERVED_FILES
from support.log_lines import unexpected_errors
from support.server import serve

MAX_FILES = 200
LIMITED = "server.connections_limited"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_idle_connections_beyond_the_file_limit_exclude_nobody(
    tmp_path: Path, workers: str
) -> None:
    with serve(tmp_path, max_files=MAX_FILES, BITESPEED_WORKERS=workers) as server:
        with ExitStack() as crowd:
            for _ in range(3 * MAX_FILES):
                with suppress(ConnectionError):
                    crowd.enter_context(server.connect())
            assert server.identify("marty@hillvalley.edu")["emails"] == ["marty@hillvalley.edu"]
        assert server.log().count(LIMITED) == 1
        assert "server.cannot_accept" not in server.log()
        assert unexpected_errors(server.log()) == []


def test_enough_files_for_the_connections_need_no_warning(tmp_path: Path) -> None:
    few = str(MAX_FILES - RESERVED_FILES - 10)
    settings = {"BITESPEED_MAX_CONNECTIONS": few, "BITESPEED_DATABASE_POOL": "10"}
    with serve(tmp_path, max_files=MAX_FILES, **settings) as server:
        assert LIMITED not in server.log()
