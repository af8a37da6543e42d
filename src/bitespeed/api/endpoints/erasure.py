"""POST /erase: remove all records about one data subject."""

from bitespeed.api.calls import Backend, Call
from bitespeed.api.http import NDJSON, HttpReply, content_type, reply
from bitespeed.errors import UnsupportedMediaType
from bitespeed.wire.subjects import decode_subject, encode_receipt


async def erase(backend: Backend, call: Call) -> HttpReply:
    """POST /erase"""
    if content_type(call.headers) is NDJSON:
        raise UnsupportedMediaType("Name one person as application/json")
    subject = decode_subject(call.body, backend.region)
    return reply(encode_receipt(await call.service(backend).erase(subject, call.request)))
