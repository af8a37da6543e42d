"""Reconciles the observations of messages, in batches, as the service does with any other."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from bitespeed.errors import (
    AnswerTooLarge,
    BitespeedError,
    InvalidInput,
    NotFound,
    QueueUnavailable,
    Unavailable,
)
from bitespeed.model.identifiers import Observation
from bitespeed.model.identity import Answer
from bitespeed.model.sources import QUEUE, Source
from bitespeed.queues.messages import MAX_OBSERVATIONS, Message
from bitespeed.queues.sqs import Received, SqsQueue
from bitespeed.service.batching import MAX_BATCH
from bitespeed.service.service import Service
from bitespeed.service.tenants import Tenants
from bitespeed.telemetry.logs import log
from bitespeed.tenant import tenant_name
from bitespeed.wire.observations import decode_array, decode_observation

WORKERS = 4  # some receive and delete messages while others reconcile
RETRY_DELAY = 1.0  # seconds before the next attempt when the queue or the database is away


async def work(
    tenants: Tenants, queue: SqsQueue, region: str | None, stop: asyncio.Event
) -> tuple[int, int]:
    """Reconcile messages until ``stop`` is set. Returns how many were processed, and failed."""
    workers = [_worker(tenants, queue, region, stop) for _ in range(WORKERS)]
    counts = await asyncio.gather(*workers)
    return sum(done for done, _ in counts), sum(failed for _, failed in counts)


async def _worker(
    tenants: Tenants, queue: SqsQueue, region: str | None, stop: asyncio.Event
) -> tuple[int, int]:
    done = failed = 0
    while not stop.is_set():
        try:
            received = await queue.receive()
            retried = await _reconcile(tenants, queue, received, region)
        except QueueUnavailable:  # the queue has logged it
            await asyncio.sleep(RETRY_DELAY)
            continue
        done += len(received) - len(retried)
        failed += len(retried)
        if received and len(retried) == len(received):
            await asyncio.sleep(RETRY_DELAY)
    return done, failed


async def _reconcile(
    tenants: Tenants, queue: SqsQueue, received: Sequence[Received], region: str | None
) -> set[str]:
    """Reconcile and delete messages. Returns the ids of those that failed; SQS sends them again."""
    retried = await work_off(tenants, [message for message, _ in received], region)
    await queue.delete([handle for message, handle in received if message.id not in retried])
    return retried


async def work_off(tenants: Tenants, messages: Sequence[Message], region: str | None) -> set[str]:
    """Reconcile the observations of messages. Returns the ids of messages to receive again.

    An invalid message fails alone, also within its group: it will never succeed, so the others need
    not wait for it. After a message that could not be written now, the later ones of its group fail
    too, so that the group keeps its order.
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
    """Write the observations. Returns the ids of messages with one that could not be written."""
    unwritten: set[str] = set()
    for start in range(0, len(waiting), MAX_BATCH):
        part = waiting[start : start + MAX_BATCH]
        failed = [id_ for id_, outcome in await _identified(service, part) if outcome is not None]
        unwritten.update(failed)
        if len(failed) == len(part):  # the store writes nothing now, so do not try the rest
            unwritten.update(item.message.id for item in waiting[start:])
            break
    return unwritten


def _observations(message: Message, region: str | None) -> list[Observation]:
    """The observations in a message. Raises `InvalidInput` if any of them is invalid."""
    body = message.body.encode(errors="replace")
    items = decode_array(body) if body.lstrip().startswith(b"[") else [body]
    if not 0 < len(items) <= MAX_OBSERVATIONS:
        raise InvalidInput(f"A message has from 1 to {MAX_OBSERVATIONS} observations")
    return [decode_observation(item, region) for item in items]


async def _identified(
    service: Service, part: Sequence[_Item]
) -> list[tuple[str, BitespeedError | None]]:
    """For each observation the id of its message, and the error if it was not written.

    An observation that names a data subject who was erased after it was sent is skipped.
    """
    made_at = [item.message.sent_at for item in part]
    try:
        observations = [item.observation for item in part]
        outcomes = await service.identify_all(observations, None, made_at, Source(QUEUE))
    except Unavailable as error:
        log.warning("queue.retried", messages=len(part), message=str(error))
        return [(item.message.id, error) for item in part]
    results: list[tuple[str, BitespeedError | None]] = []
    for (message, _), outcome in zip(part, outcomes, strict=True):
        if isinstance(outcome, NotFound):
            log.info("queue.erased", id=message.id)
        is_done = isinstance(outcome, Answer | AnswerTooLarge | NotFound)
        results.append((message.id, None if is_done else outcome))
    return results


def _behind(messages: Sequence[Message], unwritten: set[str]) -> set[str]:
    """The ids of messages behind one of the same group that was not written."""
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
