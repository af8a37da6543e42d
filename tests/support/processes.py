"""Programs that a test starts: awaited until ready, and gone when the test leaves them.

Some servers refuse to run as root, so root starts them as somebody else, in folders of theirs.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from signal import SIG_DFL, SIGINT, SIGKILL, Signals, signal

START = 30.0  # seconds until a program must be ready; also recovery after a crash, on a busy disk
STOP = 30.0  # seconds until it must have ended after its signal
POLL_INTERVAL = 0.01  # seconds between two polls
COMMAND = 120.0  # seconds until a command that prepares something must have ended

SOMEBODY = "nobody"  # who runs the servers that root starts; is on every system

# Ends a program when whoever started it has died: only then does the input end without a line.
# The pid cannot be another's by then: its first owner was ours to reap, so it was there until now.
WATCH = 'read _ || { kill -"$1" "$2"; while kill -0 "$2"; do sleep 0.1; done; rm -rf -- "$3"; }'

# Removes what a run has copied, when that run has ended, however that happens.
REMOVE = 'read _; rm -rf -- "$1"'
_removers: list[subprocess.Popen[bytes]] = []


@cache
def somebody() -> list[str]:
    """What to put before a command so that it does not run as root; nothing for others."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(SOMEBODY)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]


@contextmanager
def home() -> Iterator[Path]:
    """A folder with a short path that belongs to whoever runs the servers; gone afterwards.

    Not pytest's: nobody but root can reach into root's, and a socket's path must be short.
    """
    folder = Path(tempfile.mkdtemp(prefix="bitespeed-", dir=_reachable_folder()))
    try:
        if somebody():
            shutil.chown(folder, SOMEBODY)
        yield folder
    finally:
        shutil.rmtree(folder)


@cache
def _reachable_folder() -> str:
    candidates = [tempfile.gettempdir(), "/tmp", "/var/tmp"]
    for folder in candidates:
        if runs("test", "-w", folder):
            return folder
    raise AssertionError(f"{SOMEBODY} can write into none of {', '.join(candidates)}.")


@cache
def within_reach(tree: Path) -> Path:
    """The tree, or a copy of it for this run, where whoever runs the servers can read it."""
    if runs("test", "-x", tree):
        return tree
    folder = Path(tempfile.mkdtemp(prefix="bitespeed-", dir=_reachable_folder()))
    _removers.append(
        subprocess.Popen(["sh", "-c", REMOVE, "remove", str(folder)], stdin=subprocess.PIPE)
    )
    shutil.copytree(tree, folder / tree.name, symlinks=True)
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True, timeout=COMMAND)
    return folder / tree.name


def runs(*command: str | Path) -> bool:
    """Does this command succeed for whoever runs the servers?"""
    try:
        return not subprocess.run(
            [*somebody(), *command], capture_output=True, timeout=COMMAND, check=False
        ).returncode
    except OSError:
        return False


def run(*command: str | Path, enter: Sequence[str] = ()) -> None:
    """Run a command to its end, as whoever runs the servers; its output is in the failure."""
    done = subprocess.run(
        [*enter, *somebody(), *command],
        capture_output=True,
        text=True,
        timeout=COMMAND,
        check=False,
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}{done.stderr}"


def children(pid: int) -> list[int]:
    """The processes that this one has started and that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def is_alive(pid: int) -> bool:
    """Has it not ended? A zombie is not alive."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def heed_interrupts() -> None:
    """For ``preexec_fn``: undo what a shell does to the processes it starts in the background."""
    signal(SIGINT, SIG_DFL)


class Daemon:
    """One program, which may end and be started again; all that it says is kept."""

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        *,
        enter: Sequence[str] = (),
        environ: dict[str, str] | None = None,
        gently: Signals = SIGINT,
        orphaned: Signals = SIGKILL,
        refuses_root: bool = True,
    ) -> None:
        """``gently`` ends it, ``orphaned`` is sent when the test run has died.

        One that does not refuse root is started as root. A program in Python must be: where Python
        lies in root's home, nobody else can load it.
        ``enter`` stands before the command, while we are still ourselves.
        """
        self._name = Path(command[0]).name
        self._command = [*enter, *(somebody() if refuses_root else ()), *command]
        self._folder = folder
        self._environ = environ
        self._gently = gently
        self._orphaned = orphaned
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process started last."""
        assert self._process is not None
        return self._process.pid

    def has_started(self) -> bool:
        """Has it ever been started?"""
        return self._process is not None

    def is_running(self) -> bool:
        """Has it been started and not ended?"""
        return self._process is not None and self._process.poll() is None

    def start(self, is_ready: Callable[[], bool]) -> None:
        """Return when it is ready; when it ends before that, its log is in the failure."""
        assert not self.is_running()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watch()
        deadline = time.monotonic() + START
        while not is_ready():
            if not self.is_running() or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self._name} did not get ready:\n{self.log()}")
            time.sleep(POLL_INTERVAL)

    def _watch(self) -> None:
        signal = self._orphaned.name.removeprefix("SIG")
        self._watcher = subprocess.Popen(
            ["sh", "-c", WATCH, "watch", signal, str(self.pid), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def signal(self, signal: Signals) -> None:
        """Send it a signal and return at once."""
        assert self._process is not None
        self._process.send_signal(signal)

    def stop(self) -> None:
        """End it; kill it, and fail, when it does not end."""
        if not self.is_running():
            self.kill()
            return
        self.signal(self._gently)
        try:
            assert self._process is not None
            self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self._name} did not end:\n{self.log()}") from None
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill it with SIGKILL together with what it has started; all are gone on return."""
        if self._process is not None and self.is_running():
            self._process.send_signal(Signals.SIGSTOP)  # so that it starts nothing meanwhile
            victims = children(self.pid)
            self._process.kill()
            for pid in victims:
                _kill(pid)
            _wait_until_gone(victims)
            self._process.wait()
        self._unwatch()

    def _unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.communicate(b"\n", timeout=STOP)
            self._watcher = None

    def log(self) -> str:
        """All its output since its first start."""
        return self._log.read_text(errors="replace")


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, SIGKILL)


def _wait_until_gone(pids: Sequence[int]) -> None:
    deadline = time.monotonic() + STOP
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"Of {pids}, some survive SIGKILL."
        time.sleep(POLL_INTERVAL)
