"""Ctrl-C at a moment that no test would meet by chance."""

import asyncio
import signal

import pytest

from bitespeed.cli.common import INTERRUPTED, awaiting


def test_interrupt_waits_until_the_event_loop_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that is made by half would log an error when it is collected."""
    made: list[asyncio.AbstractEventLoop] = []
    make = asyncio.Runner.get_loop

    def interrupted_make(runner: asyncio.Runner) -> asyncio.AbstractEventLoop:
        signal.raise_signal(signal.SIGINT)
        made.append(make(runner))
        return made[0]

    @awaiting
    async def command() -> None:
        raise AssertionError

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(asyncio.Runner, "get_loop", interrupted_make)
    try:
        with pytest.raises(SystemExit) as stopped:
            command()
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.value.code == INTERRUPTED
    assert made[0].is_closed()
