"""The queue function: messages from SQS, each done with or reported as failed on its own."""

import time
from collections.abc import Mapping
from typing import Any

from bitespeed.aws.environment import Context, Environment, Opened
from bitespeed.aws.metrics import tell
from bitespeed.errors import BitespeedError
from bitespeed.queues import Message, message
from bitespeed.queues.worker import work_off

_environment = Environment()


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """What Lambda calls; those of its answer come again, see `ReportBatchItemFailures`."""
    messages = [_message(record) for record in event["Records"]]
    began = time.time()

    async def work(opened: Opened) -> set[str]:
        failed = await work_off(opened.tenants, messages, opened.settings.region)
        told = {"Messages": len(messages), "Errors": len(failed)}
        tell(context.aws_request_id, opened.happened, began, **told)
        return failed

    try:
        failed = _environment.run(work, context)
    except BitespeedError:
        failed = {message.id for message in messages}
    return {"batchItemFailures": [{"itemIdentifier": m.id} for m in messages if m.id in failed]}


def _message(record: Mapping[str, Any]) -> Message:
    given = {n: a.get("stringValue") for n, a in record.get("messageAttributes", {}).items()}
    return message(record["messageId"], record["body"], record.get("attributes", {}), given)
