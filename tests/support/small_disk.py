"""A disk of a few MiB, which only the programs started for it can see.

    python small_disk.py FOLDER MIB

Mounts a tmpfs in a mount namespace of its own, says so, and keeps it until its input ends. Root
may do that; others may in a user namespace, where the system allows them to make one.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

GONE = 10.0  # seconds until it must have ended after its input has

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


class SmallDisk(NamedTuple):
    """What to put before a command so that it sees the disk, and where we see it ourselves."""

    enter: list[str]
    view: Path


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[SmallDisk]:
    """Have so many MiB on the folder, for the commands that enter; nothing is left afterwards."""
    with subprocess.Popen(
        [sys.executable, __file__, str(folder), str(mib)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        try:
            if not holder.stdout.readline():
                why = holder.stderr.read().decode().splitlines()[-1:]
                raise AssertionError(f"This system lets us mount no small disk: {why}")
            namespaces = ["--mount"] if os.geteuid() == 0 else ["--user", "--mount"]
            enter = ["nsenter", "--target", str(holder.pid), *namespaces, "--preserve-credentials"]
            root = Path(f"/proc/{holder.pid}/root")
            yield SmallDisk([*enter, "--"], root / folder.relative_to("/"))
        finally:
            holder.stdin.close()
            holder.wait(GONE)


def main() -> None:
    """Mount, say so, and wait."""
    folder, mib = sys.argv[1:]
    owner = Path(folder).stat()
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        _call("unshare", CLONE_NEWNS)
    else:
        _call("unshare", CLONE_NEWNS | CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    options = f"size={mib}m,mode=0700,uid={owner.st_uid},gid={gid if uid else owner.st_gid}"
    _call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options.encode())
    print("mounted", flush=True)
    sys.stdin.read()


def _call(function: str, *arguments: bytes | int | None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{function}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
