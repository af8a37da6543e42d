"""The servers that benchmarks compare with give the answers of the service."""

from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from bench import (
    constant,
    data,
    processes,
)
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer
from bitespeed.wire.answers import encode_answer


def _identify(server: processes.Server, key: str | None) -> tuple[bytes, str]:
    """The answer, and the id of the request."""
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    body = b'{"email":"c10000010000@example.com","phoneNumber":"10000010000"}'
    with urlopen(Request(server.url, body, headers)) as response:
        return response.read(), response.headers["x-request-id"]


def test_bare_service_answers_alike_without_keys_and_logs(
    tmp_path: Path,
) -> None:
    found: dict[str, tuple[bytes, str, str]] = {}
    for name, serve in (("bare", processes.bare_service), ("whole", processes.service)):
        database = data.url(tmp_path / f"{name}.db")
        key = processes.create_key(database)
        with serve(database, tmp_path) as server:
            answer, id_ = _identify(server, None if name == "bare" else key)
            if name == "whole":
                with pytest.raises(HTTPError, match="401"):
                    _identify(server, None)
        log = (tmp_path / f"server-{server.port}.log").read_text()
        found[name] = answer, id_, log
    assert found["bare"][0] == found["whole"][0]
    assert [bool(id_) for _, id_, _ in found.values()] == [False, True]
    assert ["contact.created" in log for _, _, log in found.values()] == [False, True]


def test_constant_answer_is_as_long_as_a_real_one() -> None:
    email, phone = data.customer(10_000)
    observation = observe(email, phone)
    assert observation.email is not None
    assert observation.phone is not None
    answer = Answer(10_000, [observation.email], [observation.phone], [])
    assert encode_answer(answer) == constant.BODY
