"""Inputs that must be refused without anything being written, and inputs that only look that way.

Texts of JSON are written as JSON, so that what a parser gets is what stands here.
"""

import gzip
import json
from itertools import chain
from typing import NamedTuple

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


NOT_JSON = {
    "nothing": b"",
    "a blank": b" ",
    "a line": b"\r\n",
    "an open object": b"{",
    "a closing brace": b"}",
    "an open array": b"[",
    "half a literal": b"nul",
    "a capital literal": b"None",
    "a word": b"email",
    "a member without a value": b'{"email"}',
    "a member without a value after its colon": b'{"email":}',
    "a member without a colon": b'{"email" "a@b.c"}',
    "an object that is not closed": b'{"email":"a@b.c"',
    "a string that is not closed": b'{"email":"a@b.c}',
    "a name without quotes": b'{email:"a@b.c"}',
    "single quotes": b"{'email':'a@b.c'}",
    "typographic quotes": "{“email”:“a@b.c”}".encode(),
    "a trailing comma": b'{"email":"a@b.c",}',
    "a leading comma": b'{,"email":"a@b.c"}',
    "two commas": b'{"email":"a@b.c",,"phoneNumber":"1"}',
    "no comma": b'{"email":"a@b.c" "phoneNumber":"1"}',
    "a semicolon": b'{"email":"a@b.c";"phoneNumber":"1"}',
    "two documents": b'{"email":"a@b.c"}{"email":"a@b.c"}',
    "two lines": b'{"email":"a@b.c"}\n{"email":"a@b.c"}',
    "a word behind": b'{"email":"a@b.c"}x',
    "a brace behind": b'{"email":"a@b.c"}}',
    "a NUL behind": b'{"email":"a@b.c"}\x00',
    "a NUL before": b'\x00{"email":"a@b.c"}',
    "a record separator": b'\x1e{"email":"a@b.c"}\n',
    "a guard against inclusion": b')]}\',\n{"email":"a@b.c"}',
    "a line comment": b'{"email":"a@b.c"} // x',
    "a block comment": b'{/* x */"email":"a@b.c"}',
    "a hash comment": b'# x\n{"email":"a@b.c"}',
    "a form feed": b'\x0c{"email":"a@b.c"}',
    "a no-break space": b'\xc2\xa0{"email":"a@b.c"}',
    "a line separator": b'\xe2\x80\xa8{"email":"a@b.c"}',
    "a byte order mark": b'\xef\xbb\xbf{"email":"a@b.c"}',
    "UTF-16": '{"email":"a@b.c"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"email":"a@b.c"}'.encode("utf-16-le"),
    "UTF-32": '{"email":"a@b.c"}'.encode("utf-32"),
    "Latin-1": '{"email":"é@b.c"}'.encode("latin-1"),
    "a byte of no UTF-8": b'{"email":"\xff@b.c"}',
    "a continuation byte alone": b'{"email":"\x80@b.c"}',
    "half a character": b'{"email":"\xe2\x82@b.c"}',
    "an overlong slash": b'{"email":"\xc0\xaf@b.c"}',
    "an overlong NUL": b'{"email":"\xc0\x80@b.c"}',
    "a surrogate in UTF-8": b'{"email":"\xed\xa0\x80@b.c"}',
    "a character beyond Unicode": b'{"email":"\xf4\x90\x80\x80@b.c"}',
    "a byte of no UTF-8 in a phone number": b'{"phoneNumber":"1\xff"}',
    "a byte of no UTF-8 in another member": b'{"email":"a@b.c","note":"\xff"}',
    "a byte of no UTF-8 in a name": b'{"email":"a@b.c","\xff":1}',
    "a high surrogate": rb'{"email":"\ud800@b.c"}',
    "a low surrogate": rb'{"email":"\udc00@b.c"}',
    "two high surrogates": rb'{"email":"\ud800\ud800@b.c"}',
    "a pair the wrong way round": rb'{"email":"\udc00\ud800@b.c"}',
    "a surrogate and a letter": rb'{"email":"\ud800x@b.c"}',
    "a surrogate in a phone number": rb'{"phoneNumber":"1\ud800"}',
    "a surrogate in a name": rb'{"\ud800":1,"email":"a@b.c"}',
    "a raw NUL": b'{"email":"a\x00@b.c"}',
    "a raw line break": b'{"email":"a@b.c\n"}',
    "a raw tab": b'{"email":"a@b.c\t"}',
    "a raw escape": b'{"email":"a@b.c\x1b"}',
    "an escape of its own": rb'{"email":"\x61@b.c"}',
    "an escaped quote of another kind": rb'{"email":"\'@b.c"}',
    "a short escape": rb'{"email":"\u61@b.c"}',
    "an escape of no number": rb'{"email":"\uzzzz@b.c"}',
    "an escaped end": b'{"email":"a@b.c\\"}',
    "NaN": b'{"phoneNumber":NaN}',
    "Infinity": b'{"phoneNumber":Infinity}',
    "-Infinity": b'{"phoneNumber":-Infinity}',
    "a plus before a number": b'{"phoneNumber":+1}',
    "a leading zero": b'{"phoneNumber":0123}',
    "a negative leading zero": b'{"phoneNumber":-01}',
    "a fraction without a head": b'{"phoneNumber":.5}',
    "a fraction without a tail": b'{"phoneNumber":5.}',
    "an exponent without a tail": b'{"phoneNumber":1e}',
    "a sign alone": b'{"phoneNumber":-}',
    "a hexadecimal number": b'{"phoneNumber":0x10}',
    "a binary number": b'{"phoneNumber":0b1}',
    "an underscore in a number": b'{"phoneNumber":1_000}',
    "a big integer of JavaScript": b'{"phoneNumber":1n}',
    "undefined": b'{"phoneNumber":undefined}',
    "a call": b'{"phoneNumber":alert(1)}',
    "deep arrays": b"[" * 30_000,
    "deep closed arrays": b"[" * 30_000 + b"]" * 30_000,
    "deep objects": b'{"email":' * 7_000,
    "deep closed objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "a deep email": b'{"email":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "a deep other member": b'{"email":"a@b.c","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "gzip": gzip.compress(b'{"email":"a@b.c"}', mtime=0),
    "MessagePack": b"\x81\xa5email\xa5a@b.c",
    "a form": b"email=a%40b.c&phoneNumber=1",
    "XML": b'<?xml version="1.0"?><email>a@b.c</email>',
    "an external entity": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
    "YAML": b"email: a@b.c\n",
    "a pickle": b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00",
    "a query": b"{ contacts { email } }",
}

NO_OBSERVATION = {
    "an array": "[]",
    "an array of one": '[{"email":"a@b.c"}]',
    "null": "null",
    "true": "true",
    "a number": "1",
    "a fraction": "1.5",
    "a huge number": "1e400",
    "a string": '"a@b.c"',
    "an object in a string": r'"{\"email\":\"a@b.c\"}"',
}

NEITHER = {
    "an empty object": "{}",
    "a null email": '{"email":null}',
    "a null phone number": '{"phoneNumber":null}',
    "two nulls": '{"email":null,"phoneNumber":null}',
    "two empty strings": '{"email":"","phoneNumber":""}',
    "two blanks": '{"email":" ","phoneNumber":"  "}',
    "escaped blanks": r'{"email":"\t\r\n","phoneNumber":"\u00a0\u2003"}',
    "a capital": '{"Email":"a@b.c"}',
    "capitals": '{"EMAIL":"a@b.c","PHONENUMBER":"1"}',
    "an underscore": '{"phone_number":"1"}',
    "another name": '{"phone":"1","mail":"a@b.c"}',
    "a blank in the name": '{"email ":"a@b.c"," phoneNumber":"1"}',
    "members of a member": '{"contact":{"email":"a@b.c","phoneNumber":"1"}}',
    "an empty name": '{"":"a@b.c"}',
    "a prototype": '{"__proto__":{"email":"a@b.c"}}',
    "an email that is taken back": '{"email":"a@b.c","email":null}',
}

INJECTIONS = {
    "a filter of PostgREST": "9,id.gt.0",
    "a filter of PostgREST for all": "neq.null",
    "a tautology": "x' OR '1'='1",
    "a tautology in double quotes": '" or ""="',
    "a tautology and a comment": "1 or 1=1 --",
    "a second statement": "'; drop table contact_record; --",
    "a second statement of a number": "1; delete from contact_record",
    "a union": "' union select sql from sqlite_schema --",
    "a wait": "'; select pg_sleep(9); --",
    "a parameter": "?1",
    "a named parameter": ":email",
    "a dollar parameter": "$1",
    "a percent sign": "%",
    "an underscore": "_",
    "an asterisk": "*",
    "a glob": "[a-z]*",
    "a script": "<script>alert(1)</script>",
    "a template": "{{7*7}}",
    "a look-up of Log4j": "${jndi:ldap://localhost/x}",
    "a command": "`id`",
    "a command after a semicolon": "; cat /etc/passwd",
    "a path": "../../../etc/passwd",
    "a header": "x\r\nSet-Cookie: a=b",
    "a format": "%s%n{0}",
    "a formula": "=HYPERLINK(1)",
    "an operator of MongoDB": '{"$ne": null}',
    "a word for nothing": "null",
    "another word for nothing": "undefined",
    "not a number": "NaN",
    "a truth": "true",
    "an object of JavaScript": "[object Object]",
}

WRONG_TYPES = {
    "true": "true",
    "false": "false",
    "a fraction": "1.5",
    "a whole fraction": "1.0",
    "an exponent": "1e3",
    "a number beyond a double": "1e400",
    "a negative number beyond a double": "-1e400",
    "a tiny number": "1e-400",
    "an empty array": "[]",
    "an array": '["a@b.c"]',
    "an array of a number": "[123456]",
    "an empty object": "{}",
    "an object": '{"value":"a@b.c"}',
    "an operator": '{"$gt":""}',
    "a negative number": "-1",
    "a negative fraction": "-0.5",
    "an integer of 51 digits": "1" * 51,
    "an integer of 5,000 digits": "9" * 5_000,
}

BAD_EMAILS = {
    **{name: json.dumps(text) for name, text in INJECTIONS.items()},
    **WRONG_TYPES,
    "an integer": "123456",
    "zero": "0",
    "no at": '"ab.c"',
    "only an at": '"@"',
    "no domain": '"a@"',
    "no local part": '"@b.c"',
    "two ats": '"a@@b.c"',
    "two ats apart": '"a@b@c.d"',
    "two addresses": '"a@b.c,d@e.f"',
    "a blank inside": '"a b@c.d"',
    "a blank in the domain": '"a@b c.d"',
    "a blank before the at": '"a @b.c"',
    "a name before": '"Emmett <a@b.c>"',
    "a dot at the head of the domain": '"a@.b"',
    "a dot at the end of the domain": '"a@b."',
    "two dots in the domain": '"a@b..c"',
    "a dot as the domain": '"a@."',
    "a NUL": r'"a\u0000@b.c"',
    "a NUL at the end": r'"a@b.c\u0000"',
    "a NUL alone": r'"\u0000"',
    "a line break": r'"a\n@b.c"',
    "a header": r'"a@b.c\r\nBcc: d@e.f"',
    "a tab": r'"a\t@b.c"',
    "a backspace": r'"a\b@b.c"',
    "an escape": r'"a\u001b[0m@b.c"',
    "a delete": r'"a\u007f@b.c"',
    "a next line": r'"a@b\u0085.c"',
    "a no-break space": r'"a\u00a0@b.c"',
    "an ideographic space": r'"a\u3000@b.c"',
    "a zero-width space": r'"a\u200b@b.c"',
    "a zero-width joiner": r'"a\u200d@b.c"',
    "a soft hyphen": r'"a\u00ad@b.c"',
    "a byte order mark": r'"\ufeffa@b.c"',
    "a right-to-left mark": r'"a\u202e@b.c"',
    "a line separator": r'"a\u2028@b.c"',
    "a noncharacter": r'"a\uffff@b.c"',
    "a private character": r'"a\ue000@b.c"',
    "a fullwidth at": r'"a\uff20b.c"',
    "256 characters": f'"{"a" * 252}@b.c"',
    "256 characters of domain": f'"a@{"b" * 252}.c"',
    "10,000 characters": f'"{"a" * 10_000}@b.c"',
    "256 characters with their blanks": f'"{" " * 251}a@b.c"',
    "256 characters once in lower case": f'"{"İ" * 126}@b.c"',
}

BAD_PHONES = {
    **{name: json.dumps(text) for name, text in INJECTIONS.items()},
    **WRONG_TYPES,
    "a word": '"phone"',
    "an email": '"a@b.c"',
    "a letter among digits": '"12a34"',
    "a vanity number": '"1-800-FLOWERS"',
    "a plus alone": '"+"',
    "two pluses": '"++1"',
    "a plus inside": '"1+2"',
    "a plus at the end": '"12+"',
    "a hyphen alone": '"-"',
    "parentheses alone": '"()"',
    "dots alone": '"..."',
    "a comma": '"1,234"',
    "a slash": '"030/1234"',
    "an underscore": '"1_000"',
    "an exponent": '"1e5"',
    "a hexadecimal number": '"0x12"',
    "a scheme": '"tel:123"',
    "an extension": '"123 ext. 4"',
    "an extension as a parameter": '"123;ext=4"',
    "an extension with a hash": '"123#4"',
    "a service code": '"*100#"',
    "two numbers": '"123/456"',
    "Arabic digits": r'"\u0661\u0662\u0663"',
    "Devanagari digits": r'"\u0967\u0968"',
    "fullwidth digits": r'"\uff11\uff12"',
    "superscript digits": r'"\u00b2\u00b3"',
    "digits in circles": r'"\u2460"',
    "a fullwidth plus": r'"\uff0b1"',
    "a minus sign": r'"\u22121"',
    "an en dash": r'"12\u201334"',
    "a narrow no-break space": r'"12\u202f34"',
    "a zero-width space": r'"12\u200b34"',
    "a right-to-left mark": r'"\u200f1234"',
    "a line break inside": r'"12\n34"',
    "a NUL": r'"12\u000034"',
    "a NUL at the end": r'"1234\u0000"',
    "a NUL alone": r'"\u0000"',
    "an emoji": '"☎"',
    "51 digits": f'"{"1" * 51}"',
    "a plus and 50 digits": f'"+{"1" * 50}"',
    "10,000 digits": f'"{"1" * 10_000}"',
    "a digit and 255 blanks": f'"1{"-" * 255}"',
}

NOT_A_BATCH = {
    "nothing": b"",
    "an object": b"{}",
    "one observation": b'{"email":"a@b.c"}',
    "null": b"null",
    "a string": b'"[]"',
    "a number": b"1",
    "an open array": b"[",
    "an array that is not closed": b'[{"email":"a@b.c"}',
    "an object that is not closed": b'[{"email":"a@b.c"]',
    "a trailing comma": b'[{"email":"a@b.c"},]',
    "a leading comma": b'[,{"email":"a@b.c"}]',
    "no comma": b'[{"email":"a@b.c"} {"email":"a@b.c"}]',
    "an element that is no JSON": b'[{"email":"a@b.c"},x]',
    "a value that is no JSON": b'[{"email":"a@b.c"},{"email":tru}]',
    "NaN": b'[{"email":"a@b.c"},{"phoneNumber":NaN}]',
    "two arrays": b'[{"email":"a@b.c"}][{"email":"a@b.c"}]',
    "lines": b'{"email":"a@b.c"}\n{"email":"a@b.c"}\n',
    "a byte order mark": b'\xef\xbb\xbf[{"email":"a@b.c"}]',
    "UTF-16": '[{"email":"a@b.c"}]'.encode("utf-16"),
    "a byte of no UTF-8": b"\xff",
    "deep arrays": b"[" * 100_000,
    "deep closed arrays": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b"[" + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"]",
}

BAD_QUERIES = {
    "no query": "",
    "an empty query": "?",
    "an empty email": "?email=",
    "an email without a value": "?email",
    "two blanks": "?email=%20&phoneNumber=%20",
    "a capital": "?Email=a@b.c",
    "another name": "?mail=a@b.c&phone=1",
    "an array": "?email[]=a@b.c",
    "an operator": "?email[$ne]=a@b.c",
    "a filter of PostgREST": "?id=gt.0",
    "a JSON body": "?%7B%22email%22:%22a@b.c%22%7D",
    "a NUL in an email": "?email=%00@b.c",
    "a line break in an email": "?email=a%0A@b.c",
    "a long email": f"?email={'a' * 252}@b.c",
    "no email": "?email=ab.c",
    "two ats": "?email=a@b@c.d",
    "a blank in an email": "?email=a%20b@c.d",
    "a bad email beside a phone number": "?email=ab.c&phoneNumber=123456",
    "a byte of no UTF-8 in an email": "?email=%ff@b.c",
    "a surrogate in an email": "?email=%ed%a0%80@b.c",
    "an overlong slash in an email": "?email=%c0%af@b.c",
    "a byte of no UTF-8 in a phone number": "?phoneNumber=1%ff",
    "a letter in a phone number": "?phoneNumber=12a",
    "a bad phone number beside an email": "?email=a@b.c&phoneNumber=x",
    "a plus alone": "?phoneNumber=+",
    "two encoded pluses": "?phoneNumber=%2B%2B1",
    "a fraction": "?phoneNumber=1,5",
    "51 digits": f"?phoneNumber={'1' * 51}",
    "a tautology": "?phoneNumber=1%20or%201=1",
    "a tautology in quotes": "?email=x'%20OR%20'1'='1",
    "a filter as the email": "?email=9,id.gt.0",
    "a filter as the phone number": "?phoneNumber=9,id.gt.0",
    "an encoded ampersand": "?email=a%26phoneNumber=1",
}

NO_IDS = {
    "a word": "me",
    "null": "null",
    "a negative number": "-1",
    "a plus": "+1",
    "a fraction": "1.0",
    "an exponent": "1e2",
    "a hexadecimal number": "0x1",
    "an underscore": "1_0",
    "a blank before": "%201",
    "a blank behind": "1%20",
    "a line break": "1%0A",
    "a NUL": "1%00",
    "a NUL alone": "%00",
    "two ids": "1,2",
    "a parameter": "1;v=2",
    "a filter of PostgREST": "9,id.gt.0",
    "a filter for all": "eq.1",
    "a tautology": "1'%20OR%20'1'='1",
    "a tautology of numbers": "1%20or%201=1",
    "Arabic digits": "%D9%A1",
    "a superscript": "%C2%B2",
    "a byte of no UTF-8": "%ff",
    "a dot": ".",
    "two dots": "..",
    "two encoded dots": "%2e%2e",
    "an asterisk": "*",
    "a UUID": "00000000-0000-0000-0000-000000000001",
}

UNKNOWN_IDS = [
    "0",
    "999999999",
    "00000000099",
    str(2**63 - 1),
    str(2**63),
    str(2**64 + 1),
    "9" * 400,
]

UNKNOWN_PATHS = [
    "/",
    "//",
    "/identif",
    "/identify/",
    "//identify",
    "/Identify",
    "/IDENTIFY",
    "/identify%20",
    "/identify%00",
    "/identify;v=1",
    "/identify.json",
    "/identify/batch/",
    "/identify//batch",
    "/identify/other",
    "/v1/identify",
    "/api/identify",
    "/rest/v1/contact",
    "/contact",
    "/contacts/",
    "/contacts/1/",
    "/contacts/1/2",
    "/contacts/1%2F2",
    "/health/",
    "/ready/",
    "/readyz",
    "/.env",
    "/.git/config",
    "/admin",
    "/contacts.db",
    "/%2e%2e/contacts.db",
    "/a" * 4_000,
]

UNKNOWN_FILES = [
    "/docs/",
    "/docs/nothing.js",
    "/docs/../contacts.db",
    "/docs/%2e%2e/__init__.py",
    "/docs/..%2f__init__.py",
    "/docs/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/docs//etc/passwd",
    "/docs/%2fetc%2fpasswd",
    "/docs/%00",
    "/docs/swagger-ui.css%00",
    f"/docs/{'a' * 300}",
]

WRONG_METHODS = {
    "/identify": "GET PUT PATCH DELETE TRACE PROPFIND SEARCH",
    "/identify/batch": "GET PUT PATCH DELETE TRACE",
    "/contacts": "POST PUT PATCH DELETE TRACE",
    "/contacts/1": "POST PUT PATCH TRACE",
    "/health": "POST PUT DELETE",
    "/ready": "POST PUT DELETE",
    "/docs": "POST PUT DELETE",
    "/openapi.json": "POST PUT DELETE",
}

WRONG_CONTENT_TYPES = [
    "text/plain",
    "text/plain; charset=utf-8",
    "text/html",
    "text/json",
    "text/csv",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/octet-stream",
    "application/xml",
    "application/jsonp",
    "application/json5",
    "application/javascript",
    "application/graphql",
    "application/x-msgpack",
    "json",
    "application",
    "*/*",
    "text/plain; application/json",
    "application/ json",
]


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
    "a length of no number": b"POST /identify HTTP/1.1\r\nContent-Length: x\r\n\r\n{}",
    "a negative length": b"POST /identify HTTP/1.1\r\nContent-Length: -2\r\n\r\n{}",
    "a length beyond 64 bits": (
        b"POST /identify HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n{}"
    ),
    "two lengths": b"POST /identify HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and chunks": (
        b"POST /identify HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"
    ),
    "an unknown encoding": b"POST /identify HTTP/1.1\r\nTransfer-Encoding: what\r\n\r\n{}",
    "a body without a length": b'POST /identify HTTP/1.1\r\nHost: x\r\n\r\n{"email":"a@b.c"}',
    "a chunk of no size": (
        b"POST /identify HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"
    ),
    "a chunk of a negative size": (
        b"POST /identify HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n"
    ),
    "a chunk that is too long": (
        b"POST /identify HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}xx\r\n0\r\n\r\n"
    ),
    "a chunk beyond 64 bits": (
        b"POST /identify HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n"
    ),
}
