"""POST /observations: put observations on the queue, from which a worker reconciles them."""

import msgspec

from bitespeed.api.calls import Backend, Call
from bitespeed.api.endpoints.batches import charge, items_in
from bitespeed.api.http import NDJSON, HttpReply, content_type, reply
from bitespeed.errors import InvalidInput, NotConfigured
from bitespeed.wire.observations import decode_observation


async def enqueue(backend: Backend, call: Call) -> HttpReply:
    """POST /observations: all of them as one message, or none if one is bad."""
    if backend.queue is None:
        raise NotConfigured("No queue is configured here; POST /identify answers at once")
    is_ndjson = content_type(call.headers) is NDJSON
    is_one = not is_ndjson and not call.body.lstrip().startswith(b"[")
    items = [call.body] if is_one else items_in(call.body, is_ndjson=is_ndjson)
    if not items:
        raise InvalidInput("There is no observation in the body")
    await charge(call.caller, items)
    for item in items:
        decode_observation(item, backend.region)
    message = b"[" + b",".join(bytes(item) for item in items) + b"]"
    id_ = await backend.queue.send(call.caller.tenant, message.decode())
    return reply(msgspec.json.encode({"messageId": id_}), status=202)
