"""/contacts: look up and delete."""

from bitespeed.api.calls import Backend, Call, text_parameter
from bitespeed.api.http import NDJSON, NO_CONTENT, NO_STORE, HttpReply, content_type, reply
from bitespeed.errors import InvalidInput, UnsupportedMediaType
from bitespeed.model.identifiers import observe
from bitespeed.wire.answers import encode_answer
from bitespeed.wire.instants import parse_instant
from bitespeed.wire.observations import decode_observation
from bitespeed.wire.subjects import MAX_ID, parse_contact_id

AS_OF = "asOf"


async def look_up(backend: Backend, call: Call) -> HttpReply:
    """GET /contacts?email=…&phoneNumber=…"""
    wanted = observe(*_values_in(call.query), backend.region)
    answer = await call.service(backend).look_up(wanted.email, wanted.phone)
    return reply(encode_answer(answer), NO_STORE)


async def look_up_values(backend: Backend, call: Call) -> HttpReply:
    """POST /contacts/lookup: as GET /contacts, with no value in the address."""
    if content_type(call.headers) is NDJSON:
        raise UnsupportedMediaType("Name one person as application/json")
    wanted = decode_observation(call.body, backend.region)
    answer = await call.service(backend).look_up(wanted.email, wanted.phone)
    return reply(encode_answer(answer), NO_STORE)


async def get_contact(backend: Backend, call: Call) -> HttpReply:
    """GET /contacts/{id}, and with ``?asOf=`` as it was at an instant"""
    service = call.service(backend)
    as_of = text_parameter(call.query, AS_OF)
    if as_of is None:
        answer = await service.contact(contact_id(call))
    else:
        answer = await service.contact_as_of(contact_id(call), parse_instant(as_of))
    return reply(encode_answer(answer), NO_STORE)


async def delete_contact(backend: Backend, call: Call) -> HttpReply:
    """DELETE /contacts/{id}"""
    await call.service(backend).delete(contact_id(call), call.request, call.source)
    return NO_CONTENT


def contact_id(call: Call) -> int:
    """The contact that the path names."""
    text = call.path_parameters["id"]
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput("A contact id is a whole number")
    # Python refuses to read a number of thousands of digits.
    is_short = len(text) <= len(str(MAX_ID))
    return parse_contact_id(int(text) if is_short else MAX_ID + 1)


def _values_in(query: bytes) -> tuple[str | None, str | None]:
    """The email and the phone number in a query string. Raises `InvalidInput` unless it is UTF-8.

    A plus sign means itself in an email and at the head of a phone number, where callers rarely
    remember to write it as %2B; elsewhere it stands for a blank.
    """
    try:
        return _decoded(query)
    except UnicodeDecodeError:
        raise InvalidInput("The query is not in UTF-8") from None


def _decoded(query: bytes) -> tuple[str | None, str | None]:
    from urllib.parse import unquote, unquote_plus  # not at each cold start of a Lambda function

    email = phone = None
    for pair in query.decode().split("&"):
        name, _, value = pair.partition("=")
        if name == "email":
            email = unquote(value, errors="strict")
        elif name == "phoneNumber":
            phone = ("+" if value.startswith("+") else "") + unquote_plus(value, errors="strict")
    return email, phone
