"""What becomes of messages: their observations go the way of every other, gathered in batches."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from bitespeed.errors import BitespeedError, InvalidInput, NotFound, Unavailable
from bitespeed.model.identifiers import Observation
from bitespeed.model.identity import Answer
from bitespeed.queues.messages import MAX_OBSERVATIONS, Message
from bitespeed.queues.sqs import Received, SqsQueue
from bitespeed.service.batching import MAX_BATCH
from bitespeed.service.service import Service
from bitespeed.service.tenants import Tenants
from bitespeed.telemetry.logs import log
from bitespeed.tenant import tenant_name
from bitespeed.wire.observations import decode_array, decode_observation

WORKERS = 4  # messages are received and taken off by some while others reconcile
PAUSE = 1.0  # seconds before the next attempt when the queue or the database is away


async def work(
    tenants: Tenants, queue: SqsQueue, region: str | None, stop: asyncio.Event
) -> tuple[int, int]:
    """Reconcile the messages of the queue until stopped; the numbers of those done and failed."""
    workers = [_worker(tenants, queue, region, stop) for _ in range(WORKERS)]
    counted = await asyncio.gather(*workers)
    return sum(done for done, _ in counted), sum(failed for _, failed in counted)


async def _worker(
    tenants: Tenants, queue: SqsQueue, region: str | None, stop: asyncio.Event
) -> tuple[int, int]:
    done = failed = 0
    while not stop.is_set():
        try:
            received = await queue.receive()
            again = await _reconciled(tenants, queue, received, region)
        except Unavailable as error:
            log.warning("queue.away", message=str(error))
            await asyncio.sleep(PAUSE)
            continue
        done += len(received) - len(again)
        failed += len(again)
        if received and len(again) == len(received):
            await asyncio.sleep(PAUSE)
    return done, failed


async def _reconciled(
    tenants: Tenants, queue: SqsQueue, received: Sequence[Received], region: str | None
) -> set[str]:
    """Work off what was received and take what was done off the queue; the rest comes again."""
    again = await work_off(tenants, [message for message, _ in received], region)
    await queue.delete([handle for message, handle in received if message.id not in again])
    return again


async def work_off(tenants: Tenants, messages: Sequence[Message], region: str | None) -> set[str]:
    """Reconcile what the messages say; the ids of those that have to come again.

    A message that cannot be understood fails alone, also within its group: it will never
    succeed, so nothing has to wait for it. Behind one that could not be written now, the later
    ones of its group fail as well, so that their order is kept.
    """
    refused: set[str] = set()
    by_tenant: defaultdict[str, list[_Item]] = defaultdict(list)
    for message in messages:
        try:
            observations = _observations(message, region)
            by_tenant[tenant_name(message.tenant)] += [_Item(message, o) for o in observations]
        except InvalidInput as refusal:
            log.warning("queue.refused", id=message.id, message=str(refusal))
            refused.add(message.id)
    unwritten: set[str] = set()
    for tenant, waiting in by_tenant.items():
        unwritten |= await _unwritten(tenants.of(tenant), waiting)
    return refused | unwritten | _behind(messages, unwritten)


class _Item(NamedTuple):
    message: Message
    observation: Observation


async def _unwritten(service: Service, waiting: Sequence[_Item]) -> set[str]:
    """Write the observations; the ids of messages of which one could not be written."""
    unwritten: set[str] = set()
    for start in range(0, len(waiting), MAX_BATCH):
        part = waiting[start : start + MAX_BATCH]
        late = [id_ for id_, outcome in await _identified(service, part) if outcome is not None]
        unwritten.update(late)
        if len(late) == len(part):  # nothing can be written now, so the rest need not try
            unwritten.update(item.message.id for item in waiting[start:])
            break
    return unwritten


def _observations(message: Message, region: str | None) -> list[Observation]:
    """The observations in a message. Raises `InvalidInput` for all of it when one is wrong."""
    body = message.body.encode(errors="replace")
    items = decode_array(body) if body.lstrip().startswith(b"[") else [body]
    if not 0 < len(items) <= MAX_OBSERVATIONS:
        raise InvalidInput(f"A message has from 1 to {MAX_OBSERVATIONS} observations")
    return [decode_observation(item, region) for item in items]


async def _identified(
    service: Service, part: Sequence[_Item]
) -> list[tuple[str, BitespeedError | None]]:
    """For each observation the id of its message, and why it was not written.

    One about somebody who was erased since it was sent is done with.
    """
    made_at = [item.message.sent_at for item in part]
    try:
        outcomes = await service.identify_all([item.observation for item in part], None, made_at)
    except Unavailable as error:
        return [(item.message.id, error) for item in part]
    results: list[tuple[str, BitespeedError | None]] = []
    for (message, _), outcome in zip(part, outcomes, strict=True):
        if isinstance(outcome, NotFound):
            log.info("queue.erased", id=message.id)
        is_done = isinstance(outcome, Answer | NotFound)
        results.append((message.id, None if is_done else outcome))
    return results


def _behind(messages: Sequence[Message], unwritten: set[str]) -> set[str]:
    """Those that follow one that was not written in its group."""
    behind: set[str] = set()
    blocked_groups: set[str] = set()
    for message in messages:
        if message.group is None:
            continue
        if message.group in blocked_groups:
            behind.add(message.id)
        elif message.id in unwritten:
            blocked_groups.add(message.group)
    return behind
