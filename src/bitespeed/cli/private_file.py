"""Files with personal data that a command writes for its user."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp
from typing import TextIO

from bitespeed.errors import InvalidInput


class PrivateFile:
    """A file that only its owner may read, written beside its place and renamed when complete.

    So a reader never sees half of it, and nothing is written through a symbolic link. A device or
    a pipe, such as ``/dev/null``, is written to directly. ``name`` is what messages call it. Raises
    `InvalidInput` for a symbolic link; one that is made later is replaced.
    """

    def __init__(self, path: str, name: str) -> None:
        self._path = Path(path)
        self._name = name
        self._part: Path | None = None
        self._stream: TextIO | None = None
        self._is_special = self._path.exists() and not self._path.is_file()
        if self._path.is_symlink() and not self._is_special:
            raise InvalidInput(
                f"The {self._name} {self._path} is a symbolic link; name the file itself"
            )

    def refuse(self, other: os.stat_result, what: str) -> None:
        """Raise `InvalidInput` if it is this other file, by whatever name."""
        with suppress(OSError):
            own = self._path.stat()
            if stat.S_ISREG(own.st_mode) and os.path.samestat(own, other):
                raise InvalidInput(f"The {self._name} {self._path} is {what}; name another file")

    def open(self) -> TextIO:
        """Begin to write. Raises `InvalidInput` when the folder does not take the file."""
        try:
            if self._is_special:
                file = os.open(self._path, os.O_WRONLY)
            else:
                file, part = mkstemp(".part", f"{self._path.name}.", self._path.parent)  # as 0600
                self._part = Path(part)
        except OSError as error:
            raise InvalidInput(f"The {self._name} {self._path} cannot be written") from error
        # What is not UTF-8 in the source of a row must not end the command.
        self._stream = open(file, "w", encoding="utf-8", errors="replace", newline="")  # noqa: SIM115, PTH123 - closed below
        return self._stream

    def publish(self) -> None:
        """Put what was written in its place; remove a file of an earlier run if nothing was."""
        if self._stream is not None:
            self._stream.close()
            if self._part is not None:
                self._part.replace(self._path)
        elif not self._is_special:
            with suppress(FileNotFoundError):
                self._path.unlink()

    def discard(self) -> None:
        """Leave everything as it was."""
        if self._stream is not None:
            self._stream.close()
        if self._part is not None:
            self._part.unlink()
