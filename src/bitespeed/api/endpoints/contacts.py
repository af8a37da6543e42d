"""/contacts: look up and delete."""

from bitespeed.api.calls import Backend, Call
from bitespeed.api.http import NO_CONTENT, NO_STORE, HttpReply, reply
from bitespeed.errors import InvalidInput
from bitespeed.model.identifiers import observe
from bitespeed.wire.answers import encode_answer
from bitespeed.wire.subjects import MAX_ID, parse_contact_id


async def look_up(backend: Backend, call: Call) -> HttpReply:
    """GET /contacts?email=…&phoneNumber=…"""
    wanted = observe(*_values_in(call.query), backend.region)
    answer = await call.service(backend).look_up(wanted.email, wanted.phone)
    return reply(encode_answer(answer), NO_STORE)


async def get_contact(backend: Backend, call: Call) -> HttpReply:
    """GET /contacts/{id}"""
    answer = await call.service(backend).contact(_contact_id(call))
    return reply(encode_answer(answer), NO_STORE)


async def delete_contact(backend: Backend, call: Call) -> HttpReply:
    """DELETE /contacts/{id}"""
    await call.service(backend).delete(_contact_id(call), call.request)
    return NO_CONTENT


def _contact_id(call: Call) -> int:
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
