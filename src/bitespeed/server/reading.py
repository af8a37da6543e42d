"""When a connection reads: not while requests of its client wait."""

import asyncio
from collections.abc import Sized

from uvicorn.protocols.http.flow_control import FlowControl

PIECE = 1024  # bytes parsed at once; the head and body of most requests, and of 57 at the shortest
MAX_PIPELINED = 16  # requests that wait for the one that is answered; then their sender has to wait
SHORTEST_REQUEST = len(b"GET / HTTP/1.1\r\n\r\n")
PIPELINED_PIECE = MAX_PIPELINED * SHORTEST_REQUEST  # bytes; at most so many requests more


class ReadingControl(FlowControl):
    """uvicorn's control of the flow, with two more reasons not to read.

    uvicorn resumes with each response and with each piece of a body, so that a client that sends
    faster than it is answered fills the memory.
    """

    def __init__(self, transport: asyncio.Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline
        self._has_stopped = False

    def resume_reading(self) -> None:
        """Read again, unless requests wait in the pipeline or reading was stopped."""
        if not self._pipeline and not self._has_stopped:
            super().resume_reading()

    def stop_reading(self) -> None:
        """Never read again."""
        self._has_stopped = True
        self.pause_reading()
