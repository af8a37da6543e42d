"""POST /identify and /identify/batch: reconcile observations and answer with their identities."""

from collections.abc import Callable

from bitespeed.api.calls import Backend, Call, source_of
from bitespeed.api.endpoints.batches import Item, charge, items_in
from bitespeed.api.http import NDJSON, Headers, HttpReply, content_type, reply
from bitespeed.api.keyring import Caller
from bitespeed.errors import BitespeedError, InvalidInput, UnsupportedMediaType
from bitespeed.model.identifiers import Observation
from bitespeed.service.batching import Outcome
from bitespeed.telemetry.requests import Request
from bitespeed.wire.answers import encode_answer, encode_outcomes
from bitespeed.wire.observations import decode_observation


async def identify(backend: Backend, call: Call) -> HttpReply:
    """POST /identify"""
    observation = _observation(call.headers, call.body, backend.region)
    answer = await call.service(backend).identify(observation, call.request, call.source)
    return reply(encode_answer(answer))


def submit(
    backend: Backend,
    caller: Caller,
    headers: Headers,
    body: bytes,
    on_done: Callable[[Outcome], None],
    request: Request,
) -> None:
    """POST /identify without waiting: ``on_done`` gets the outcome. See `Service.submit`.

    Raises `InvalidInput`, `UnsupportedMediaType` and what `Service.submit` raises; ``on_done`` is
    not called then.
    """
    observation = _observation(headers, body, backend.region)
    source = source_of(caller, headers)
    backend.tenants.of(caller.tenant).submit(observation, on_done, request, source)


async def identify_batch(backend: Backend, call: Call) -> HttpReply:
    """POST /identify/batch: an outcome for each item. One that is refused harms no other."""
    is_ndjson = content_type(call.headers) is NDJSON
    items = items_in(call.body, is_ndjson=is_ndjson)
    await charge(call.caller, items)
    decoded = [_decode(item, backend.region) for item in items]
    good = [item for item in decoded if isinstance(item, Observation)]
    service = call.service(backend)
    answers = iter(await service.identify_all(good, call.request, source=call.source))
    outcomes = encode_outcomes(
        [next(answers) if isinstance(item, Observation) else item for item in decoded]
    )
    if is_ndjson:
        return reply(b"".join(line + b"\n" for line in outcomes), content_type=NDJSON)
    return reply(b"[" + b",".join(outcomes) + b"]")


def _observation(headers: Headers, body: bytes, region: str | None) -> Observation:
    if content_type(headers) is NDJSON:
        raise UnsupportedMediaType(
            "Send one observation as application/json, or many to /identify/batch"
        )
    return decode_observation(body, region)


def _decode(item: Item, region: str | None) -> Observation | BitespeedError:
    try:
        return decode_observation(item, region)
    except InvalidInput as error:
        return error
