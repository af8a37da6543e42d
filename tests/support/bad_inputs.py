"""Requests that must be refused without anything being written, and values that only look bad."""

from itertools import chain
from typing import NamedTuple

from support.bad_values import (
    BAD_EMAILS,
    BAD_PAGES,
    BAD_PHONES,
    BAD_QUERIES,
    NEITHER,
    NO_IDS,
    NO_OBSERVATION,
    NOT_A_BATCH,
    NOT_JSON,
    UNKNOWN_FILES,
    UNKNOWN_IDS,
    UNKNOWN_PATHS,
    WRONG_CONTENT_TYPES,
    WRONG_METHODS,
)

MAX_BODY = 65_536
MAX_BATCH_BODY = 1_048_576


class BadInput(NamedTuple):
    """A request and the status that refuses it."""

    name: str
    status: int
    method: str
    target: str
    body: bytes | None = None
    content_type: str = "application/json"


def _json(value: str) -> bytes:
    return value.encode()


def _post(name: str, status: int, body: bytes, target: str = "/identify") -> BadInput:
    return BadInput(name, status, "POST", target, body)


def _values(kind: str, bad: dict[str, str], good: str) -> list[BadInput]:
    """Each bad value alone, and beside a good one of the other kind."""
    return [
        _post(f"{kind}: {name}{more}", 400, _json(f'{{"{kind}":{value}{member}}}'))
        for name, value in bad.items()
        for more, member in (("", ""), (", beside a good value", f",{good}"))
    ]


BAD_INPUTS = [
    *(_post(f"no JSON: {name}", 400, body) for name, body in NOT_JSON.items()),
    *(_post(f"no observation: {n}", 400, _json(text)) for n, text in NO_OBSERVATION.items()),
    *(_post(f"neither value: {name}", 400, _json(text)) for name, text in NEITHER.items()),
    *_values("email", BAD_EMAILS, '"phoneNumber":"123456"'),
    *_values("phoneNumber", BAD_PHONES, '"email":"mcfly@hillvalley.edu"'),
    *(
        _post(f"no batch: {name}", 400, body, "/identify/batch")
        for name, body in NOT_A_BATCH.items()
    ),
    *(
        BadInput(f"merges: {name}", 400, "GET", f"/merges{query}")
        for name, query in BAD_PAGES.items()
    ),
    *(
        BadInput(f"query: {name}", 400, "GET", f"/contacts{query}")
        for name, query in BAD_QUERIES.items()
    ),
    *(
        BadInput(f"{method} no id: {name}", 400, method, f"/contacts/{id_}")
        for name, id_ in NO_IDS.items()
        for method in ("GET", "DELETE")
    ),
    *(
        BadInput(f"{method} unknown id: {id_[:24]}", 404, method, f"/contacts/{id_}")
        for id_ in UNKNOWN_IDS
        for method in ("GET", "DELETE")
    ),
    *(
        BadInput(f"{method} unknown path: {path[:40]}", 404, method, path, body)
        for path in UNKNOWN_PATHS
        for method, body in (("GET", None), ("POST", b'{"email":"a@b.c"}'))
    ),
    *(BadInput(f"unknown file: {path[:40]}", 404, "GET", path) for path in UNKNOWN_FILES),
    *(
        BadInput(f"wrong method: {method} {path}", 405, method, path, b'{"email":"a@b.c"}')
        for path, methods in WRONG_METHODS.items()
        for method in methods.split()
    ),
    *chain.from_iterable(
        (
            BadInput(f"type: {kind}", 415, "POST", "/identify", b'{"email":"a@b.c"}', kind),
            BadInput(f"type: {kind}, batch", 415, "POST", "/identify/batch", b"[{}]", kind),
        )
        for kind in WRONG_CONTENT_TYPES
    ),
    _post("65,537 bytes", 413, b'{"email":"a@b.c"}'.ljust(MAX_BODY + 1)),
    _post("2 MB", 413, b'{"email":"a@b.c"}'.ljust(2 * MAX_BATCH_BODY)),
    _post("2 MB of an email", 413, b'{"email":"%s"}' % (b"a" * 2 * MAX_BATCH_BODY)),
    _post("2 MB of digits", 413, b'{"phoneNumber":%s}' % (b"1" * 2 * MAX_BATCH_BODY)),
    _post("100,000 arrays", 413, b"[" * 100_000 + b"]" * 100_000),
    _post("100,000 objects", 413, b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    _post("a batch of 1 MB and a byte", 413, b"[]".ljust(MAX_BATCH_BODY + 1), "/identify/batch"),
    _post("a batch of 2 MB", 413, b"[]".ljust(2 * MAX_BATCH_BODY), "/identify/batch"),
    _post("a batch of 1,001", 413, b"[%s]" % b",".join([b"{}"] * 1001), "/identify/batch"),
]

HOSTILE_EMAILS = [
    "o'brien@shop.example",
    "''@shop.example",
    '"quoted"@shop.example',
    "x'or'1'='1@shop.example",
    "';drop/**/table/**/contact_record;--@shop.example",
    "9,id.gt.0@shop.example",
    "100%@shop.example",
    "%@shop.example",
    "a_b@shop.example",
    "_@shop.example",
    "*@shop.example",
    "[a-z]@shop.example",
    "back\\slash@shop.example",
    "$1@shop.example",
    "?@shop.example",
    ":email@shop.example",
    "{{7*7}}@shop.example",
    "<script>alert(1)</script>@shop.example",
    "null@shop.example",
    "true@shop.example",
    "#&=/;,+~@shop.example",
    "--@shop.example",
    "..@shop.example",
    "emoji🙂@shop.example",
    "ünïcödé@exämple.example",
    "e\N{COMBINING ACUTE ACCENT}@shop.example",
    "\N{LATIN SMALL LETTER E WITH ACUTE}@shop.example",
    "\N{LATIN SMALL LETTER SHARP S}@shop.example",
    "\N{LATIN SMALL LETTER DOTLESS I}@shop.example",
    "\N{LATIN SMALL LIGATURE FI}@shop.example",
    "\N{CYRILLIC SMALL LETTER A}@shop.example",
    "用户@例子.example",
    "\N{REPLACEMENT CHARACTER}@shop.example",
    "a@sub.shop.example",
    "a@[127.0.0.1]",
    f"{'x' * 242}@shop.example",
]

THEIR_DOUBLES = [
    "obrien@shop.example",
    "quoted@shop.example",
    "1@shop.example",
    "100@shop.example",
    "axb@shop.example",
    "ab@shop.example",
    "a@shop.example",
    "x@shop.example",
    "backslash@shop.example",
    "49@shop.example",
    "e@shop.example",
    "ss@shop.example",
    "i@shop.example",
    "fi@shop.example",
    f"{'x' * 241}@shop.example",
]

HOSTILE_PHONES = ["007", "7", "+7", "0", "00", "1" * 49, "1" * 50, "+" + "1" * 49]

_POST = b"POST /identify HTTP/1.1\r\nHost: localhost\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n"

MALFORMED = {
    "no HTTP": b"hello\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + b"\x00" * 64,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "zeros": b"\x00" * 1000,
    "blanks": b" " * 1000 + b"\r\n\r\n",
    "a verb of no standard": b"FETCH /identify HTTP/1.1\r\nHost: x\r\n\r\n",
    "a verb in small letters": b"get /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
    "a blank in the path": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a NUL in the path": b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a raw byte in the path": b"GET /contacts/\xb2 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an address without a host": b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
    "an address with half a bracket": b"POST http://[::1/identify HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path of 200,000 characters": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a version of no number": b"GET /health HTTP/x.y\r\nHost: x\r\n\r\n",
    "a version of no standard": b"GET /health HTTP/3.7\r\nHost: x\r\n\r\n",
    "a header without a colon": b"GET /health HTTP/1.1\r\nHost\r\n\r\n",
    "a header without a name": b"GET /health HTTP/1.1\r\n: x\r\n\r\n",
    "a blank in a header's name": b"GET /health HTTP/1.1\r\nHo st: x\r\n\r\n",
    "a NUL in a header": b"GET /health HTTP/1.1\r\nHost: x\x00y\r\n\r\n",
    "a folded header": b"GET /health HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
    "bare line feeds": b"GET /health HTTP/1.1\nHost: x\n\n",
    "a length of no number": _POST + b"Content-Length: x\r\n\r\n{}",
    "a negative length": _POST + b"Content-Length: -2\r\n\r\n{}",
    "a length beyond 64 bits": _POST + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "two lengths": _POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and chunks": _CHUNKED + b"Content-Length: 2\r\n\r\n{}",
    "an unknown encoding": _POST + b"Transfer-Encoding: what\r\n\r\n{}",
    "a body without a length": _POST + b'\r\n{"email":"a@b.c"}',
    "a chunk of no size": _CHUNKED + b"\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk of a negative size": _CHUNKED + b"\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk that is too long": _CHUNKED + b"\r\n2\r\n{}xx\r\n0\r\n\r\n",
    "a chunk beyond 64 bits": _CHUNKED + b"\r\nfffffffffffffffff\r\n{}\r\n",
}
