"""What `openapi.yaml` promises, the server keeps; the page that shows it needs no other host."""

import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from urllib.parse import urlencode, urljoin, urlsplit

import pytest
import schemathesis
import yaml
from hypothesis import settings
from jsonschema import Draft202012Validator, ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import bitespeed
from bitespeed.api.operations import OPERATIONS
from support.api_keys import bearing, guarded, made
from support.log_lines import unexpected_errors
from support.moto_server import aws
from support.server import fresh_email, serve

TEXT = files("bitespeed.api").joinpath("openapi.yaml").read_text()
SPEC = yaml.safe_load(TEXT)
METHODS = {"get", "post", "put", "patch", "delete", "head", "options", "trace"}
SCOPES = {(o.method, o.path): o.scope for o in OPERATIONS if o.scope}

EXAMPLES = 150  # generated for each operation, besides those of the schema's own edges
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture(scope="module")
def queue():
    with aws() as played:
        yield played.queue("described")[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory, queue):
    """One with everything that is described, a queue too."""
    with serve(tmp_path_factory.mktemp("server"), BITESPEED_SQS_URL=queue) as server:
        yield server
        assert unexpected_errors(server.log()) == []


def resolved(part):
    """The part, or what it refers to."""
    while "$ref" in part:
        target = SPEC
        for step in part["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        part = target
    return part


def operations():
    return [
        (path, method, operation)
        for path, item in SPEC["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def camel_case(name):
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def examples(media):
    if "example" in media:
        yield "example", media["example"]
    for name, example in media.get("examples", {}).items():
        yield name, example["value"]


def request_examples():
    for path, method, operation in operations():
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            for name, value in examples(media):
                yield pytest.param(path, method, kind, value, id=f"{method} {path} {name} {kind}")


def response_examples():
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            for media in resolved(response).get("content", {}).values():
                for name, value in examples(media):
                    id_ = f"{method} {path} {status} {name}"
                    yield pytest.param(media["schema"], value, id=id_)


def assert_valid(value, schema):
    Draft202012Validator(schema | {"components": SPEC["components"]}).validate(value)


def assert_documented(reply, path, method):
    """The status is described for the operation, and the body is as described for the status."""
    response = resolved(SPEC["paths"][path][method]["responses"][str(reply.status)])
    kind = reply.headers["content-type"]
    if "content" not in response:
        assert (kind, reply.body) == (None, b"")
        return
    schema = response["content"][kind]["schema"]
    is_json = kind == "application/json"
    assert_valid(reply.json if is_json else reply.body.decode(), schema)


class TestDescription:
    def test_description_is_valid_openapi_3_1(self):
        assert SPEC["openapi"].startswith("3.1.")
        OpenAPIV31SpecValidator(SPEC).validate()

    def test_description_has_the_version_of_the_package(self):
        assert SPEC["info"]["version"] == bitespeed.__version__

    def test_every_operation_has_name_summary_and_error(self):
        names = [operation["operationId"] for _, _, operation in operations()]
        assert len(set(names)) == len(names)
        for path, _, operation in operations():
            assert operation["summary"]
            assert len(operation["responses"]) > 1 or path in {"/health", "/metrics"}

    def test_every_refusal_is_one_error(self):
        for _, _, operation in operations():
            for status, response in operation["responses"].items():
                if status >= "4":
                    (media,) = resolved(response)["content"].items()
                    reference = {"$ref": "#/components/schemas/Error"}
                    assert (media[0], media[1]["schema"]) == ("application/json", reference)

    @pytest.mark.parametrize(("schema", "value"), list(response_examples()))
    def test_an_example_of_a_response_fits_its_schema(self, schema, value):
        assert_valid(value, schema)

    def test_every_operation_is_described_under_its_name(self):
        described = {(m.upper(), p): operation["operationId"] for p, m, operation in operations()}
        table = {(o.method, o.path): camel_case(o.name) for o in OPERATIONS}
        assert described == table

    @pytest.mark.parametrize("path", SPEC["paths"])
    def test_every_described_method_exists_and_no_other(self, server, path):
        allow = server.ask("OPTIONS", path.replace("{id}", "1")).headers["allow"].split(", ")
        described = {m.upper() for p, m, _ in operations() if p == path}
        assert set(allow) - {"HEAD"} == described

    def test_description_is_served_as_json(self, server):
        assert server.ask("GET", "/openapi.json").json == SPEC


class TestExamples:
    @pytest.mark.parametrize(("path", "method", "kind", "value"), list(request_examples()))
    def test_a_request_gets_what_is_described(self, server, path, method, kind, value):
        if kind == "application/json":
            assert_valid(
                value, SPEC["paths"][path][method]["requestBody"]["content"][kind]["schema"]
            )
        body = value if kind == "application/x-ndjson" else json.dumps(value)
        if path == "/erase":
            server.identify(value.get("email", fresh_email()))
        elif path in {"/contacts/lookup", "/why"}:
            server.identify("lorraine@hillvalley.edu", "123456")
            server.identify("mcfly@hillvalley.edu", "123456")
        reply = server.ask(method.upper(), path, body.encode(), {"Content-Type": kind})
        expected = (202, "application/json") if path == "/observations" else (200, kind)
        assert (reply.status, reply.headers["content-type"]) == expected
        assert_documented(reply, path, method)

    @pytest.mark.parametrize(
        ("path", "method"), [(p, m) for p, m, _ in operations() if m != "post"]
    )
    def test_parameters_get_what_is_described(self, server, path, method):
        contact = server.identify("mcfly@hillvalley.edu", "123456")
        target = path.replace("{id}", str(contact["primaryContatctId"]))
        parameters = SPEC["paths"][path][method].get("parameters", [])
        query = {p["name"]: p["example"] for p in parameters if p["in"] == "query"}
        reply = server.ask(method.upper(), f"{target}?{urlencode(query)}" if query else target)
        assert reply.status in {200, 204}
        assert_documented(reply, path, method)

    @pytest.mark.parametrize(
        ("method", "target", "path", "body", "status"),
        [
            ("POST", "/identify", "/identify", b"{}", 400),
            ("POST", "/identify", "/identify", b" " * 70_000, 413),
            ("POST", "/identify/batch", "/identify/batch", b"{}", 400),
            ("POST", "/identify/batch", "/identify/batch", b" " * 1_100_000, 413),
            ("GET", "/contacts", "/contacts", None, 400),
            ("GET", "/contacts?email=nobody@hillvalley.edu", "/contacts", None, 404),
            ("GET", "/contacts/x", "/contacts/{id}", None, 400),
            ("GET", "/contacts/999999", "/contacts/{id}", None, 404),
            ("DELETE", "/contacts/x", "/contacts/{id}", None, 400),
            ("DELETE", "/contacts/999999", "/contacts/{id}", None, 404),
            ("POST", "/erase", "/erase", b"{}", 400),
            ("POST", "/erase", "/erase", b'{"email": "a@x", "contactId": 1}', 400),
            ("POST", "/erase", "/erase", b'{"contactId": 999999}', 404),
            ("POST", "/erase", "/erase", b" " * 70_000, 413),
        ],
    )
    def test_refusals_are_as_described(self, server, method, target, path, body, status):
        reply = server.ask(method, target, body)
        assert reply.status == status
        assert_documented(reply, path, method.lower())


@schemathesis.serializer("application/x-ndjson")
def _lines(_, value):
    return str(value).encode("utf-8", "replace")


@schemathesis.openapi.from_dict(yaml.safe_load(TEXT)).parametrize()
@settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None)
def test_generated_requests_get_what_is_described(server, case):
    case.call_and_validate(base_url=server.url, checks=CHECKS)


@pytest.fixture(scope="module")
def keys(tmp_path_factory, queue):
    """A server that needs keys, and the headers of one that opens everything, of one that opens
    only the metrics, and of none.
    """
    folder = tmp_path_factory.mktemp("keys")
    good, bad = made(), made(scopes=["metrics"])
    database, has_queue = f"sqlite:///{folder / 'contacts.db'}", {"BITESPEED_SQS_URL": queue}
    with guarded(folder, database, good[0], bad[0], **has_queue) as server:
        yield server, [bearing(good[1]), bearing(bad[1]), {}]


@schemathesis.openapi.from_dict(yaml.safe_load(TEXT)).parametrize()
@settings(max_examples=EXAMPLES // 3, derandomize=True, deadline=None, database=None)
def test_generated_requests_with_keys_get_what_is_described(keys, case):
    server, headers = keys
    for sent, statuses in zip(headers, ({401, 403, 429}, None, None), strict=True):
        case.headers = {k: v for k, v in (case.headers or {}).items() if k.lower() not in CARRIERS}
        reply = case.call_and_validate(base_url=server.url, headers=sent, checks=CHECKS)
        if statuses is not None:
            assert reply.status_code not in statuses
        elif (scope := SCOPES.get((case.method.upper(), case.path))) is not None:
            passes = sent and scope == "metrics"
            assert passes or reply.status_code == (403 if sent else 401)


CARRIERS = {"authorization", "x-api-key"}


class Links(HTMLParser):
    """The addresses that a page refers to, and the text of its scripts."""

    def __init__(self, page):
        super().__init__()
        self.links = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, _, attrs):
        self.links += [value for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data):
        self.text += data


class TestPage:
    @pytest.fixture
    def page(self, server):
        reply = server.ask("GET", "/docs")
        assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
        return Links(reply.body.decode())

    def test_everything_it_refers_to_is_on_the_same_host(self, server, page):
        shown = re.findall(r'url: "([^"]+)"', page.text)
        assert shown == ["openapi.json"]
        assert any(link.endswith(".js") for link in page.links)
        for link in {*page.links, *shown}:
            address = urlsplit(urljoin(f"{server.url}/docs", link))
            assert f"{address.scheme}://{address.netloc}" == server.url
            assert server.ask("GET", address.path).status == 200

    def test_docs_page_and_styles_name_no_other_host(self, server, page):
        styles = [link for link in page.links if link.endswith(".css")]
        assert styles
        for path in ("/docs", *(f"/{style}" for style in styles)):
            text = server.ask("GET", path).body.decode()
            assert not re.findall(r"@import|https?://(?!www\.w3\.org/)|[\"'(]//", text)

    def test_docs_page_uses_no_external_validator(self, page):
        assert "validatorUrl: null" in page.text

    def test_docs_files_come_with_their_types(self, server, page):
        kinds = {".js": "javascript", ".css": "text/css", ".png": "image/png"}
        for link in page.links:
            kind = next((kind for end, kind in kinds.items() if link.endswith(end)), "json")
            assert kind in server.ask("GET", f"/{link}").headers["content-type"]


def test_the_description_of_an_answer_allows_nothing_else(server):
    schema = SPEC["paths"]["/identify"]["post"]["responses"]["200"]
    answer = server.post("/identify", {"email": fresh_email()}).json
    media = resolved(schema)["content"]["application/json"]
    assert_valid(answer, media["schema"])
    for change in ({"extra": 1}, {"emails": "x"}, {"primaryContatctId": None}):
        wrong = {"contact": answer["contact"] | change}
        with pytest.raises(ValidationError):
            assert_valid(wrong, media["schema"])
