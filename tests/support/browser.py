"""A headless Chromium, and a site that serves empty pages on a port of its own.

Chromium is driven through two pipes by its own debugging protocol: JSON messages, each with a NUL
behind it (`--remote-debugging-pipe`).
"""

import fcntl
import json
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from support.server_programs import chromium, environment

TIMEOUT = 60.0  # seconds for one call of the browser, on a busy machine
FIRST_FREE = 10  # number from which on descriptors are ours: 3 and 4 are the browser's pipes

REBINDING = "rebind.test"
"""A name that leads to 127.0.0.1, as that of a foreign site does after DNS rebinding."""

_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--no-proxy-server", "--disable-features=HttpsUpgrades"),
    f"--host-resolver-rules=MAP {REBINDING} 127.0.0.1",
    "--remote-debugging-pipe",
)


class Browser:
    """A running browser."""

    def __init__(self, to_browser: int, from_browser: int, log: Path) -> None:
        self._to_browser = to_browser
        self._from_browser = from_browser
        self._log = log
        self._received = b""
        self._events: list[dict[str, Any]] = []
        self._last_id = 0

    def open(self, url: str) -> "Page":
        """A new tab that shows the URL, as if a person had typed it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        page.call("Page.enable")
        page.navigate(url)
        return page

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of a method of the debugging protocol."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + TIMEOUT
        while (answer := self._next(deadline)).get("id") != self._last_id:
            self._events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def wait_for(self, session: str, method: str) -> dict[str, Any]:
        """The next event of this name in the session, since the last one that was waited for."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            for place, event in enumerate(self._events):
                if event.get("method") == method and event.get("sessionId") == session:
                    del self._events[: place + 1]
                    return event["params"]
            self._events.append(self._next(deadline))

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            left = max(0.0, deadline - time.monotonic())
            is_ready, _, _ = select.select([self._from_browser], [], [], left)
            piece = os.read(self._from_browser, 65_536) if is_ready else b""
            assert piece, f"The browser does not answer:\n{self._log.read_text()}"
            self._received += piece
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """See `Browser.call`."""
        return self._browser.call(method, self._session, **parameters)

    def navigate(self, url: str) -> None:
        """Go to the URL, as if a person had typed it; returns when the page has loaded."""
        failed = self.call("Page.navigate", url=url).get("errorText")
        assert not failed, failed
        self.wait_until_loaded()

    def wait_until_loaded(self) -> None:
        """Return when the page has loaded that the tab is going to."""
        self._browser.wait_for(self._session, "Page.loadEventFired")

    def run(self, script: str) -> Any:
        """The value of an expression on the page; of a promise, what it resolves to."""
        outcome = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in outcome, outcome
        return outcome["result"].get("value")

    def frames(self) -> list[str]:
        """The URLs of the frames within the page; that of one that may not be shown is an error."""
        tree = self.call("Page.getFrameTree")["frameTree"]
        return [child["frame"]["url"] for child in tree.get("childFrames", [])]


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own in the folder; ended with all its processes."""
    program, log = chromium(), folder / "browser.log"
    command = [str(program.path), *_OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    theirs_in, ours_out = _pipe()
    ours_in, theirs_out = _pipe()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    process = os.posix_spawn(
        program.path,
        command,
        environment(program.libraries),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, theirs_in, 3),
            (os.POSIX_SPAWN_DUP2, theirs_out, 4),
        ],
        setpgroup=0,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(ours_out, ours_in, log)
    finally:
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(ours_in)
        os.close(ours_out)


def _pipe() -> tuple[int, int]:
    """A pipe whose descriptors are none that the browser takes for its own."""
    low = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE) for end in low]
    for end in low:
        os.close(end)
    return high[0], high[1]


class _EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>A page</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def site() -> Iterator[str]:
    """The URL of a site of somebody else, on another port of the loopback address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _EmptyPage) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
