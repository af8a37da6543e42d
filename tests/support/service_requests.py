"""Requests to a service, and the time that a test gives them."""

import asyncio

from bitespeed.model.identifiers import observe
from bitespeed.service.batching import MAX_IN_FLIGHT

TIMEOUT = 10.0  # seconds until a test that waits for ever is told so


def run(main):
    async def bounded():
        async with asyncio.timeout(TIMEOUT):
            await main

    asyncio.run(bounded())


def strangers(count, start=0):
    return [observe(f"stranger{n}@x", str(n)) for n in range(start, start + count)]


def ask(service, observations):
    return [asyncio.create_task(service.identify(o)) for o in observations]


async def run_ready_tasks(count=5):
    """Let whatever is ready to run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def fill_flight(store, service):
    """Requests whose commits are held up, as many as may be under way at once."""
    store.committing.shut()
    held_up = []
    for n in range(MAX_IN_FLIGHT):
        store.committing.has_come.clear()
        held_up += ask(service, [observe(f"early{n}@x", None)])
        await store.committing.has_come.wait()
    return held_up
