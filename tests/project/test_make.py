"""What `make` runs, and what its lock files hold."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from bitespeed.settings import VARIABLES

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BY_DEFAULT = {"phone", "postgres", "redis"}
"""The extras that `make serve` installs."""


def surroundings() -> dict[str, str]:
    """Our environment, without what a `make test` that runs us was given."""
    return {k: v for k, v in os.environ.items() if k not in {"PYTHON", "MAKEFLAGS", "MFLAGS"}}


def would_run(*arguments: str, cwd: Path = ROOT, **environ: str) -> str:
    """What `make` would run for its last argument, were everything installed."""
    command = ["make", "--dry-run", "--no-print-directory", "--old-file=.venv/installed"]
    done = subprocess.run(
        [*command, f"--makefile={ROOT / 'Makefile'}", *arguments],
        cwd=cwd,
        env=surroundings() | environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_make_serve_passes_its_variables_on() -> None:
    served = would_run("serve", "PORT=9000", "RATE_LIMIT=5")
    assert served == (
        "exec env BITESPEED_PORT='9000' BITESPEED_RATE_LIMIT='5' .venv/bin/bitespeed serve"
    )


def test_make_serve_ignores_what_the_environment_calls_port() -> None:
    assert would_run("serve", PORT="9000", HOST="laptop") == "exec env .venv/bin/bitespeed serve"


def test_make_serve_leaves_full_names_in_the_environment(tmp_path: Path) -> None:
    program = tmp_path / "bitespeed"
    program.write_text("#!/bin/sh\necho $DATABASE_URL $BITESPEED_PORT $BITESPEED_REGION\n")
    program.chmod(0o755)
    given = ["DATABASE_URL=sqlite:///x.db", "PORT=9000", "BITESPEED_REGION=US"]
    command = ["make", "--no-print-directory", "--old-file=.venv/installed", "serve"]
    done = subprocess.run(
        [*command, f"BIN={tmp_path}", *given],
        cwd=ROOT,
        env=surroundings(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["sqlite:///x.db", "9000", "US"]


def test_make_serve_takes_every_setting() -> None:
    (listed,) = re.findall(r"^SETTINGS := ((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)
    names = {f"BITESPEED_{name}" for name in listed.replace("\\\n", " ").split()}
    assert names == {name for name in VARIABLES.values() if name.startswith("BITESPEED_")}


def pins(name: str) -> set[tuple[str, str]]:
    """The packages of a lock file with their versions, without markers."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return set(re.findall(r"^([\w.-]+)(?:\[\w+\])?==([\w.]+)", text, re.MULTILINE))


def test_every_other_extra_has_a_lock_file() -> None:
    (listed,) = re.findall(r"^EXTRAS := (.*)", MAKEFILE, re.MULTILINE)
    assert set(listed.split()) == PROJECT["optional-dependencies"].keys() - BY_DEFAULT
    for extra in listed.split():
        assert pins(extra) <= pins("image") <= pins("dev")
        assert pins(extra) - pins("runtime")


def test_make_serve_installs_no_other_extra() -> None:
    installed = {name for name, _ in pins("runtime")}
    assert {"phonenumberslite", "psycopg", "hiredis"} <= installed
    assert not {"botocore", "httpx", "opentelemetry-sdk", "sentry-sdk"} & installed
    assert pins("runtime") <= pins("image")


@pytest.mark.parametrize(
    "file", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda f: f.stem
)
def test_lock_files_have_hashes_and_no_address(file: Path) -> None:
    text = file.read_text()
    assert "://" not in text
    for line in re.findall(r"^[\w.-]+(?:\[\w+\])?==.*", text, re.MULTILINE):
        assert line.endswith("\\"), line
