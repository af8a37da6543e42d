"""Events of every kind, whole and with parts missing, become the request that was sent."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

from bitespeed.api.keyring import TRUSTED

# In a process of its own, since the module opens its database as it is loaded.
SCRIPT = """
import json, sys
from bitespeed.aws.api import request_in
for event in json.load(sys.stdin):
    asked = request_in(event)
    headers = [[name.decode(), value.decode()] for name, value in asked.headers.items()]
    query, body = asked.query.decode(), asked.body.decode("latin-1")
    print(json.dumps([asked.method, asked.path, query, headers, body]))
"""


def http(path: str, stage: str = "$default", **more: Any) -> dict[str, Any]:
    """Of an HTTP API or a function URL."""
    context = {"http": {"method": "POST", "path": path}, "stage": stage}
    return {"version": "2.0", "rawPath": path, "requestContext": context} | more


def rest(path: str, **more: Any) -> dict[str, Any]:
    """Of a REST API, or of an HTTP API that is told to send payload format 1.0."""
    return {"httpMethod": "POST", "path": path, "requestContext": {"stage": "prod"}} | more


def asked(path: str, query: str = "", headers: Any = (), body: str = "") -> list[Any]:
    return ["POST", path, query, [[name, value] for name, value in headers], body]


CASES = {
    "nothing but what must be there": (http("/identify"), asked("/identify")),
    "the same of a REST API": (rest("/identify"), asked("/identify")),
    "nulls": (
        rest("/x", headers=None, body=None, multiValueQueryStringParameters=None),
        asked("/x"),
    ),
    "a stage with a name": (http("/prod/identify", "prod"), asked("/identify")),
    "a stage that a domain left out": (http("/identify", "prod"), asked("/identify")),
    "a stage that a path begins with": (http("/contacts/1", "con"), asked("/contacts/1")),
    "a body in Base64": (
        http("/x", body=b64encode(b"\xff{}").decode(), isBase64Encoded=True),
        asked("/x", body="\xff{}"),
    ),
    "a body as text": (rest("/x", body="{}", isBase64Encoded=False), asked("/x", body="{}")),
    "a length of what came in Base64": (
        http("/x", headers={"Content-Length": "99", "X-API-Key": "k"}),
        asked("/x", headers=[("x-api-key", "k")]),
    ),
    "a query": (http("/x", rawQueryString="email=a%2Bb@c"), asked("/x", "email=a%2Bb@c")),
    "a query that came decoded": (
        rest("/x", multiValueQueryStringParameters={"email": ["a+b@c", "d&e"]}),
        asked("/x", "email=a%2Bb%40c&email=d%26e"),
    ),
    "a query with single values alone": (
        rest("/x", queryStringParameters={"email": "a b@c"}),
        asked("/x", "email=a%20b%40c"),
    ),
}


def test_every_event_becomes_its_request(tmp_path: Path) -> None:
    events = json.dumps([event for event, _ in CASES.values()])
    environ = os.environ | {"DATABASE_URL": f"sqlite:///{tmp_path}/contacts.db"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environ, input=events, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = dict(zip(CASES, map(json.loads, done.stdout.splitlines()), strict=True))
    assert told == {name: request for name, (_, request) in CASES.items()}


REVOKED = """
import os, sys, time
from types import SimpleNamespace
real, later = time.time, 0.0
time.time = lambda: real() + later
import msgspec
from bitespeed.aws import api
from support.api_keys import keep, made

def status():
    return api.handler(event, context)["statusCode"]

key, text = made()
keep(os.environ["DATABASE_URL"], key)
context = SimpleNamespace(aws_request_id="r", get_remaining_time_in_millis=lambda: 9000)
event = {"httpMethod": "GET", "path": "/contacts/1", "requestContext": {},
         "headers": {"x-api-key": text}}
told = [status()]
keep(os.environ["DATABASE_URL"], msgspec.structs.replace(key, revoked_at=1))
loop = api._environment._loop
stopped = loop.time()
loop.time = lambda: stopped
told.append(status())
later = TRUSTED
told.append(status())
print(*told, file=sys.stderr)
"""


def test_key_trust_ends_though_monotonic_clock_stands_still(tmp_path: Path) -> None:
    """As they may while an environment is frozen; but for the time of day."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/contacts.db", "PYTHONPATH": path}
    script = REVOKED.replace("TRUSTED", str(TRUSTED))
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "404 404 401"


LARGE = """
import json
from types import SimpleNamespace
from bitespeed.aws import api

context = SimpleNamespace(aws_request_id="r", get_remaining_time_in_millis=lambda: 9000)
event = {"httpMethod": "POST", "path": "/identify", "requestContext": {},
         "body": '{"email": "mcfly@hillvalley.edu"}'}
for limit in (api.MAX_ANSWER, api.ENVELOPE + 50):
    api.MAX_ANSWER = limit
    answer = api.handler(event, context)
    print(json.dumps([answer["statusCode"], json.loads(answer["body"])]))
"""


def test_answer_beyond_the_limit_of_lambda_names_its_primary(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/contacts.db", "BITESPEED_PUBLIC": "true"}
    done = subprocess.run(
        [sys.executable, "-c", LARGE], env=os.environ | environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    (ok, whole), (status, refused) = map(json.loads, lines)
    assert (ok, whole["contact"]["primaryContatctId"]) == (200, 1)
    assert (status, refused["code"]) == (413, "answer_too_large")
    assert refused["primaryContatctId"] == 1
