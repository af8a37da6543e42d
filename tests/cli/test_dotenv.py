"""A file ``.env`` in the working directory gives settings, unless the environment has them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.commands import bitespeed, succeed

TIMEOUT = 20.0  # seconds for what takes a moment on an idle machine


def test_commands_read_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# the shop\nexport DATABASE_URL='sqlite:///shop.db' # here\n")
    succeed("identify", "--phone", "1", cwd=tmp_path)
    assert [path.name for path in tmp_path.glob("*.db")] == ["shop.db"]


def test_environment_wins_over_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=sqlite:///shop.db\nBITESPEED_REGION=Utopia\n")
    given = {"DATABASE_URL": "sqlite:///given.db", "BITESPEED_REGION": "US"}
    succeed("identify", "--phone", "1", cwd=tmp_path, **given)
    assert [path.name for path in tmp_path.glob("*.db")] == ["given.db"]


@pytest.mark.parametrize(
    ("text", "line"),
    {
        "sesame\n": 1,
        "A=1\n\n\nopen sesame\n": 4,
        "A=1\n=sesame\n": 2,
        "A=1\nB='sesame\nC=1\n": 2,
        "A=1\r\nsesame\r\n": 2,
    }.items(),
)
def test_malformed_line_is_named_and_not_shown(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / ".env").write_text(text)
    done = bitespeed("check", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"Error: .env, line {line}: this is not NAME=value\n"
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("content", "sentence"),
    {
        b"BITESPEED_PROT=sesame": "There is no setting BITESPEED_PROT; the nearest is",
        b"BITESPEED_PORT=sesame": "BITESPEED_PORT must be a whole number",
        b"NAME=sesame\xff": ".env is not a text in UTF-8",
    }.items(),
)
def test_value_that_cannot_work_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / ".env").write_bytes(content)
    done = bitespeed("check", cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "sesame" not in done.stderr


def test_folder_named_dotenv_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    done = bitespeed("check", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "Error: .env cannot be read: Is a directory\n")


@pytest.mark.parametrize("has_dotenv", [True, False])
def test_start_up_line_names_dotenv(tmp_path: Path, has_dotenv: bool) -> None:
    if has_dotenv:
        (tmp_path / ".env").write_text("BITESPEED_PORT=0\nSENTRY_DSN=\nPASSWORD=sesame\n")
    command = [sys.executable, "-m", "bitespeed", "serve", "--port", "0"]
    environ = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        process.send_signal(signal.SIGTERM)
        process.wait(TIMEOUT)
    assert ("settings from" in line) == has_dotenv
    assert line.endswith(f", settings from {tmp_path}/.env\n") == has_dotenv
    assert "sesame" not in line
