"""The queue function: processes messages from SQS, and reports those that failed."""

import time
from collections.abc import Mapping
from typing import Any

from bitespeed.aws.environment import Context, Environment, Opened
from bitespeed.aws.metrics import current_counts, emit
from bitespeed.errors import BitespeedError
from bitespeed.queues.messages import Message, message
from bitespeed.queues.worker import work_off
from bitespeed.telemetry.logs import log

_environment = Environment()


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Process the messages of an event, and return those that failed, so that SQS delivers these
    again (`ReportBatchItemFailures`).
    """
    messages = [_message(record) for record in event["Records"]]
    began, before = time.time(), current_counts()

    async def work(opened: Opened) -> set[str]:
        return await work_off(opened.backend.tenants, messages, opened.settings.region)

    sentence: str | None = None
    try:
        failed = _environment.run(work, context)
    except BitespeedError as error:
        sentence = str(error)
        log.error("function.failed", message=sentence)
        failed = {message.id for message in messages}
    counts = {"Messages": len(messages), "Errors": len(failed)}
    emit(context.aws_request_id, before, began, sentence, **counts)
    return {"batchItemFailures": [{"itemIdentifier": m.id} for m in messages if m.id in failed]}


def _message(record: Mapping[str, Any]) -> Message:
    given = {n: a.get("stringValue") for n, a in record.get("messageAttributes", {}).items()}
    return message(record["messageId"], record["body"], record.get("attributes", {}), given)
