"""Mistakes in the connection of a client."""

from support.mutants import Mutant, Suite

PIPELINING = Suite("server/test_pipelining.py")
HOSTILE = Suite("server/test_hostile_clients.py", "together")
HEADS = Suite("server/test_heads.py", "Trailers or Hosts or zeros or upgrades")

MUTANTS = [
    Mutant(
        "any number of pipelined requests may wait",
        "server/connection.py",
        "if len(self.pipeline) >= MAX_PIPELINED:",
        "if len(self.pipeline) >= 1_000_000:",
        PIPELINING,
    ),
    Mutant(
        "bytes go on being read while requests wait",
        "server/reading.py",
        "if not self._pipeline and not self._has_stopped:",
        "if not self._has_stopped:",
        PIPELINING,
    ),
    Mutant(
        "bytes go on being read, among hostile clients",
        "server/reading.py",
        "if not self._pipeline and not self._has_stopped:",
        "if not self._has_stopped:",
        HOSTILE,
    ),
    Mutant(
        "requests behind the last one are carried out",
        "server/connection.py",
        "if last is not None and not last.keep_alive:",
        "if last is None and self._is_ending:",
        PIPELINING,
    ),
    Mutant(
        "a refusal overtakes the answers before it",
        "server/connection.py",
        "if self._is_its_turn():\n            self._close()",
        "if self._current is not self:\n            self._close()",
        PIPELINING,
    ),
    Mutant(
        "a client that sends nothing more gets no answer",
        "server/connection.py",
        "return not self.transport.is_closing()",
        "return False",
        PIPELINING,
    ),
    Mutant(
        "clients that have begun to connect are kept out",
        "server/process.py",
        "(0x15, 0, 1, _SYN)",
        "(0x15, 0, 0, _SYN)",
        Suite("server/test_workers.py", "began"),
    ),
    Mutant(
        "there may be more connections than files",
        "server/open_files.py",
        "if settings.max_connections <= room:",
        "if settings.max_connections > room:",
        Suite("server/test_open_files.py"),
    ),
    Mutant(
        "a trailer is a header",
        "server/connection.py",
        "if not self._has_head:\n            self.headers",
        "if self.headers is not None:\n            self.headers",
        HEADS,
    ),
    Mutant(
        "trailers are not counted",
        "server/connection.py",
        "if len(self.headers) + self._trailers > MAX_HEADERS:",
        "if len(self.headers) > MAX_HEADERS:",
        HEADS,
    ),
    Mutant(
        "a second Host is passed over",
        "server/heads.py",
        'len(_values(lines, b"host")) > 1',
        'len(_values(lines, b"host")) > 2',
        HEADS,
    ),
    Mutant(
        "zeros before a length are counted",
        "api/http.py",
        'digits = digits.lstrip(b"0")[:_MAX_DIGITS]',
        "digits = digits[:_MAX_DIGITS]",
        HEADS,
    ),
    Mutant(
        "an upgrade makes Connection disappear",
        "server/heads.py",
        "if word.lower() not in _OFFER)",
        "if not word)",
        HEADS,
    ),
]
