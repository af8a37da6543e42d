"""Programs that tests start: by whom, and what a failure to start shows."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import moto_server, server_programs
from support.processes import Daemon, home, somebody

SCRIPT = "print('loaded', flush=True); import time; time.sleep(60)"


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Path]:
    """A folder that only we can read, with a module in it."""
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "private" / "ours.py").write_text(SCRIPT)
    yield tmp_path / "private"
    shutil.rmtree(tmp_path / "private")


def loads(private: Path, *, refuses_root: bool) -> bool:
    """Does a program in Python start that lies there?"""
    with home() as folder:
        command = [sys.executable, private / "ours.py"]
        daemon = Daemon(command, folder, refuses_root=refuses_root)
        try:
            daemon.start(lambda: "loaded" in daemon.log())
        except AssertionError:
            return False
        finally:
            daemon.kill()
        return True


def test_python_in_a_private_folder_starts_as_ourselves(private: Path) -> None:
    assert loads(private, refuses_root=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root starts programs as somebody else")
def test_python_in_a_private_folder_fails_for_somebody_else(private: Path) -> None:
    assert somebody()
    assert not loads(private, refuses_root=True)


def test_moto_that_does_not_start_shows_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "moto_server"
    broken.write_text("#!/bin/sh\necho no library >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(server_programs, "moto", lambda: server_programs.Program(broken))
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with pytest.raises(AssertionError, match="no library"), moto_server.aws():
        pass
    assert "AWS_ENDPOINT_URL" not in os.environ


def test_moto_restores_the_environment_that_it_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ours")
    with moto_server.aws() as played:
        assert os.environ["AWS_ENDPOINT_URL"] == played.environ["AWS_ENDPOINT_URL"]
    assert os.environ["AWS_ACCESS_KEY_ID"] == "ours"
    assert "AWS_ENDPOINT_URL" not in os.environ
