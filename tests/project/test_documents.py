"""The documents say what is true: their commands are run, their links and settings compared."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError

import pytest

from support.derived_tables import DERIVED, derive
from support.server import free_port

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCUMENTS = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")})

START = 240.0  # seconds for `make serve`, which may have to install first


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


def transcripts() -> Iterator[tuple[str, str]]:
    """Each command of the README's console blocks with the output printed below it."""
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def make_command(target: str) -> list[str]:
    (command,) = {
        line.split("#")[0].strip() for line in blocks("sh")[0].splitlines() if target in line
    }
    return shlex.split(command)


@pytest.fixture
def surroundings(tmp_path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The README's server, started by the README's command, on a port and a file of its own."""
    port = free_port()
    environment = os.environ | {
        "DATABASE_URL": f"sqlite:///{tmp_path}/bitespeed.db",
        "BITESPEED_PORT": str(port),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "MAKEFLAGS": "",  # the choices of a `make test` that runs us are for it alone
    }
    process = subprocess.Popen(
        make_command("make serve"), cwd=ROOT, env=environment, start_new_session=True
    )
    try:
        wait_until_ready(port)
        yield port, environment
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        with suppress(URLError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ready") as reply:
            assert reply.status == 200
            return
        time.sleep(0.05)
    pytest.fail("make serve did not start")


def run(command: str, port: int, cwd: Path, environment: dict[str, str]) -> str:
    command = command.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    if command.startswith("curl") and not shutil.which("curl"):
        return post_as_curl_would(shlex.split(command))
    done = subprocess.run(
        command, shell=True, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )
    return done.stdout


def post_as_curl_would(arguments: list[str]) -> str:
    url = next(argument for argument in arguments if argument.startswith("http"))
    body = arguments[arguments.index("-d") + 1].encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as reply:
        return reply.read().decode()


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def test_commands_of_the_readme_print_what_it_shows(
    tmp_path: Path, surroundings: tuple[int, dict[str, str]]
) -> None:
    port, environment = surroundings
    shown = list(transcripts())
    assert len(shown) >= 7
    for command, output in shown:
        assert lines(run(command, port, tmp_path, environment)) == lines(output), command


def test_snippets_of_the_readme_print_what_they_say(
    tmp_path: Path, surroundings: tuple[int, dict[str, str]]
) -> None:
    port, environment = surroundings
    for command, _ in transcripts():
        if command.startswith("curl"):
            run(command, port, tmp_path, environment)
    interpreters = {"python": [sys.executable, "-c"]}
    if node := shutil.which("node"):
        interpreters["js"] = [node, "--input-type=module", "--eval"]
    for language, interpreter in interpreters.items():
        (snippet,) = blocks(language)
        printed = snippet.strip().splitlines()[-1].lstrip("#/ ")
        assert run_snippet(interpreter, snippet, port) == printed


def run_snippet(interpreter: list[str], snippet: str, port: int) -> str:
    """What the snippet prints. It gets the port of the test's server for that of the README."""
    snippet = snippet.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    done = subprocess.run(
        [*interpreter, snippet], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_test_command_of_the_readme_runs_every_test() -> None:
    rehearsal = subprocess.run(
        [*make_command("make test"), "--dry-run", "--no-print-directory"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert rehearsal.stdout.strip().splitlines()[-1].endswith("-m pytest -n 3 --dist loadgroup")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_every_test_named_in_a_document_exists() -> None:
    sources = "\n".join(path.read_text() for path in ROOT.glob("tests/**/*.py"))
    for document in DOCUMENTS:
        for name in re.findall(r"`(test_\w+)`", document.read_text()):
            assert f"def {name}(" in sources, f"{document.name}: {name}"


@pytest.mark.parametrize("document", DERIVED, ids=lambda path: path.name)
def test_derived_tables_are_current(document: Path) -> None:
    assert document.read_text() == derive(document), "`make tables` writes it anew"
