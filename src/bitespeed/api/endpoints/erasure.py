"""POST /erase: remove all records about one data subject, or count them first."""

from bitespeed.api.calls import Backend, Call, flag, refuse_parameters_but
from bitespeed.api.http import NDJSON, NO_STORE, HttpReply, content_type, reply
from bitespeed.errors import UnsupportedMediaType
from bitespeed.wire.subjects import decode_subject, encode_counts, encode_receipt

DRY_RUN = "dryRun"


async def erase(backend: Backend, call: Call) -> HttpReply:
    """POST /erase, and with ``?dryRun=true`` only what it would remove."""
    if content_type(call.headers) is NDJSON:
        raise UnsupportedMediaType("Name one person as application/json")
    refuse_parameters_but(call.query, DRY_RUN)
    subject = decode_subject(call.body, backend.region)
    service = call.service(backend)
    if flag(call.query, DRY_RUN):
        return reply(encode_counts(await service.erasure_counts(subject)), NO_STORE)
    return reply(encode_receipt(await service.erase(subject, call.request)))
