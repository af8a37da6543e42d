"""Why two are one person, what happened to an identity, which identities were merged."""

from bitespeed.api.calls import Backend, Call, number, refuse_parameters_but
from bitespeed.api.endpoints.contacts import contact_id
from bitespeed.api.http import NDJSON, NO_STORE, HttpReply, content_type, reply
from bitespeed.errors import UnsupportedMediaType
from bitespeed.service.merges import WantedMerges
from bitespeed.service.pages import MAX_NUMBER, PAGE
from bitespeed.wire.explanations import (
    decode_question,
    encode_history,
    encode_merges,
    encode_why,
)


async def why(backend: Backend, call: Call) -> HttpReply:
    """POST /why"""
    if content_type(call.headers) is NDJSON:
        raise UnsupportedMediaType("Ask one question as application/json")
    one, other, as_of = decode_question(call.body, backend.region)
    answer = await call.service(backend).why(one, other, as_of)
    return reply(encode_why(answer), NO_STORE)


async def history(backend: Backend, call: Call) -> HttpReply:
    """GET /contacts/{id}/history?after=&limit="""
    refuse_parameters_but(call.query, "after", "limit")
    after, limit = number(call.query, "after", 0), number(call.query, "limit", PAGE)
    events = await call.service(backend).history(contact_id(call), after, limit)
    return reply(encode_history(events, limit), NO_STORE)


async def merges(backend: Backend, call: Call) -> HttpReply:
    """GET /merges?before=&limit=&minimum=&partners="""
    refuse_parameters_but(call.query, "before", "limit", "minimum", "partners")
    wanted = WantedMerges(
        before=number(call.query, "before", MAX_NUMBER),
        limit=number(call.query, "limit", PAGE),
        minimum=number(call.query, "minimum", 0),
        partners=number(call.query, "partners", 0),
    )
    return reply(encode_merges(await call.service(backend).merges(wanted)), NO_STORE)
