"""What is shipped for running the service: image, compose file, unit, list of parts, runbook."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

import bitespeed
from bitespeed.server.process import SHUTDOWN_TIMEOUT
from bitespeed.settings import Settings
from support.server import Server, free_port

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
BIN = Path(sys.executable).parent
DOCKERFILE = ROOT / "Dockerfile"


def instructions(name: str) -> list[str]:
    """What follows the name, wherever it is, each on one line."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line.split(" ", 1)[1].strip() for line in text.splitlines() if line.startswith(name)]


def succeed(*command: str | Path, cwd: Path = ROOT, **environ: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_dockerfile_passes_its_linter(tmp_path: Path) -> None:
    succeed(BIN / "hadolint", DOCKERFILE)
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp\nADD x y\n")
    assert subprocess.run([BIN / "hadolint", tmp_path / "Dockerfile"], check=False).returncode


def test_image_copies_existing_files_and_runs_without_rights() -> None:
    listed = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in listed if line.startswith("!")}
    ours = [c.split()[:-1] for c in instructions("COPY") if not c.startswith("--from")]
    assert {source for sources in ours for source in sources} == allowed
    assert all((ROOT / source).exists() for source in allowed)
    assert instructions("USER") == ["10001:10001"]
    assert "--require-hashes" in " ".join(instructions("RUN"))


def test_health_check_fails_without_a_server(server: Server) -> None:
    (check,) = instructions("HEALTHCHECK")
    command = json.loads(check[check.index("[") :])
    for port, healthy in ((server.port, True), (free_port(), False)):
        environ = os.environ | {"BITESPEED_PORT": str(port)}
        done = subprocess.run(
            [sys.executable, *command[1:]], env=environ, capture_output=True, check=False
        )
        assert (done.returncode == 0) == healthy


def test_wheel_has_every_file_of_the_package(tmp_path: Path) -> None:
    """SQL, Lua, the description: what is no Python too."""
    wheel = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", ".")
    succeed(sys.executable, *wheel, "--wheel-dir", str(tmp_path))
    package = Path(bitespeed.__file__).parent
    files = {p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    (built,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(built).namelist() if name.startswith("bitespeed/")}
    assert names == {p.relative_to(package.parent).as_posix() for p in files}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


def test_compose_file_has_no_password_and_read_only_services(services: dict[str, Any]) -> None:
    text = (ROOT / "compose.yaml").read_text()
    secrets = re.findall(r"\$\{(\w*PASSWORD)([^}]*)\}", text)
    assert {name for name, _ in secrets} == {"POSTGRES_PASSWORD", "REDIS_PASSWORD"}
    assert all(otherwise.startswith(":?") for _, otherwise in secrets)
    for name, service in services.items():
        assert service["read_only"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert "healthcheck" in service or name == "service"  # that one's is in the image
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert {wait["condition"] for wait in services["service"]["depends_on"].values()} == {
        "service_healthy"
    }
    assert "noeviction" in services["redis"]["command"][-1]


def test_stop_timeouts_are_longer_than_the_shutdown(services: dict[str, Any]) -> None:
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(ROOT / "deploy" / "bitespeed.service")
    shutdown = Settings().deadline + SHUTDOWN_TIMEOUT
    assert float(unit["Service"]["TimeoutStopSec"]) > shutdown
    assert float(services["service"]["stop_grace_period"].removesuffix("s")) > shutdown


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd has to be there")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    def complaints(text: str) -> str:
        unit = tmp_path / "bitespeed.service"
        unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
        command = ["systemd-analyze", "verify", "--man=no", unit]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.stderr

    text = (ROOT / "deploy" / "bitespeed.service").read_text()
    assert complaints(text) == ""
    assert "ProtectKlocks" in complaints(text.replace("ProtectClock", "ProtectKlocks"))
    assert complaints(text.replace("@system-service", "@sistem-service")) != ""


def test_sbom_equals_the_lock_and_has_no_time(tmp_path: Path) -> None:
    (command,) = re.findall(r"\$\(BIN\)/(cyclonedx-py .*)", (ROOT / "Makefile").read_text())
    listed = tmp_path / "sbom.json"
    succeed(BIN / "cyclonedx-py", *shlex.split(command)[1:-1], str(listed))
    sbom = json.loads(listed.read_text())
    assert not {"serialNumber"} & sbom.keys() | {"timestamp"} & sbom["metadata"].keys()
    parts = {(part["name"], part["version"]) for part in sbom["components"]}
    lock = (ROOT / "requirements" / "image.txt").read_text()
    assert parts == set(re.findall(r"^([\w.-]+)(?:\[\w+\])?==([\w.]+)", lock, re.MULTILINE))


def test_database_file_is_restored_from_its_backup(tmp_path: Path) -> None:
    """By the commands of the page, while a server might be writing."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (backup,) = (block for block in blocks if "vacuum into" in block)
    (restore,) = (block for block in blocks if "cp backup.db" in block)
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    environ = {"PATH": path, "DATABASE_URL": "sqlite:///bitespeed.db"}
    succeed("bitespeed", "identify", "--phone", "1", cwd=tmp_path, **environ)
    succeed("sh", "-ec", backup, cwd=tmp_path, **environ)
    succeed("bitespeed", "identify", "--phone", "2", cwd=tmp_path, **environ)
    assert "1 identity, sound" in succeed("sh", "-ec", restore, cwd=tmp_path, **environ)
    succeed("bitespeed", "lookup", "--phone", "1", cwd=tmp_path, **environ)
