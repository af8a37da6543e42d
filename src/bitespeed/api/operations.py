"""THE TABLE OF OPERATIONS: everything the API can do, an entry each.

Derived from it are the routes of the server and of the Lambda function, the scope and the body
limit that hold for a request, and the names in metrics. Tests compare `openapi.yaml`,
`template.yaml` and docs/security.md with it. To add an operation: an entry here, its handler in
`endpoints/`, its description in `openapi.yaml`, and a test.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib import import_module
from typing import Literal, NamedTuple

from bitespeed.api.calls import Backend, Call, flag, text_parameter
from bitespeed.api.http import HttpReply
from bitespeed.errors import MethodNotAllowed, UnknownPath
from bitespeed.model.api_keys import Scope
from bitespeed.queues.messages import MAX_MESSAGE  # all of the body becomes one message
from bitespeed.telemetry import metrics

Handler = Callable[[Backend, Call], Awaitable[HttpReply]]
Place = Literal["server", "lambda", "both"]

KIB = 1024
MAX_SMALL_BODY = 64 * KIB  # two values of 255 characters, and room for members we ignore
MAX_BATCH_BODY = 1024 * KIB  # a kilobyte for each of 1,000 observations


class Operation(NamedTuple):
    """One method on one path. A part of a path in braces is a parameter."""

    name: str
    """In metrics and logs; with `openapi.yaml`, where it is written in camelCase."""
    method: str
    path: str
    handler: str
    """``module.function`` in `endpoints`, a `Handler`; see `load_handler`."""
    scope: Scope | None = None
    """The scope that a key needs; None where no key is needed."""
    max_body: int = 0
    """Bytes; the body is not read where this is 0."""
    served_by: Place = "both"
    flag_scopes: Mapping[str, Scope] = {}
    """The scope needed instead when the query has the flag, such as ``dryRun=true``."""
    parameter_scopes: Mapping[str, Scope] = {}
    """The scope needed instead when the query has the parameter, with whatever value."""
    is_open: bool = False
    """Whether every page in a browser may use it, by every name: see `origins.py`."""
    opens_in_browser: bool = False
    """Whether a person may come to it by a link of another site."""

    def scope_for(self, query: bytes) -> Scope | None:
        """The scope that a request with this query needs. Raises `InvalidInput` for a bad flag."""
        for name, scope in self.flag_scopes.items():
            if flag(query, name):
                return scope
        for name, scope in self.parameter_scopes.items():
            if text_parameter(query, name) is not None:
                return scope
        return self.scope

    def load_handler(self) -> Handler:
        """The function named by `handler`.

        Its module is imported at its first request: a Lambda function serves few operations, and
        each import delays its start.
        """
        module, _, function = self.handler.partition(".")
        handler: Handler = getattr(import_module(f"bitespeed.api.endpoints.{module}"), function)
        return handler


IDENTIFY = Operation(
    "identify", "POST", "/identify", "identify.identify", "identify", MAX_SMALL_BODY
)

OPERATIONS = (
    IDENTIFY,
    Operation(
        "identify_batch",
        "POST",
        "/identify/batch",
        "identify.identify_batch",
        "identify",
        MAX_BATCH_BODY,
    ),
    Operation("enqueue", "POST", "/observations", "observations.enqueue", "identify", MAX_MESSAGE),
    Operation("look_up", "GET", "/contacts", "contacts.look_up", "read"),
    Operation(
        "get_contact",
        "GET",
        "/contacts/{id}",
        "contacts.get_contact",
        "read",
        parameter_scopes={"asOf": "explain"},
    ),
    Operation("delete_contact", "DELETE", "/contacts/{id}", "contacts.delete_contact", "delete"),
    Operation(
        "look_up_values",
        "POST",
        "/contacts/lookup",
        "contacts.look_up_values",
        "read",
        MAX_SMALL_BODY,
    ),
    Operation("why", "POST", "/why", "explanations.why", "explain", MAX_SMALL_BODY),
    Operation("history", "GET", "/contacts/{id}/history", "explanations.history", "explain"),
    Operation("merges", "GET", "/merges", "explanations.merges", "explain"),
    Operation("erase", "POST", "/erase", "erasure.erase", "admin", MAX_SMALL_BODY),
    Operation("health", "GET", "/health", "process.health", is_open=True),
    Operation("ready", "GET", "/ready", "process.ready", is_open=True),
    # On Lambda, CloudWatch has the metrics; those of one environment would say little.
    Operation("metrics", "GET", "/metrics", "process.metrics", "metrics", served_by="server"),
)

PAGES = (
    Operation("openapi", "GET", "/openapi.json", "documentation.openapi", served_by="server"),
    Operation(
        "docs", "GET", "/docs", "documentation.page", served_by="server", opens_in_browser=True
    ),
    Operation("docs_file", "GET", "/docs/{name}", "documentation.page_file", served_by="server"),
)
"""Served beside the API, and no part of it: not described, and counted in metrics as `other`."""

metrics.count_endpoints(operation.name for operation in OPERATIONS)

Methods = dict[str, Operation]
"""The operations of one path, by their methods; HEAD is GET."""


class Routes:
    """Finds operations by their paths and methods."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._fixed: dict[str, Methods] = {}
        self._templates: dict[tuple[str, ...], Methods] = {}
        for operation in operations:
            parts = tuple(operation.path.split("/"))
            if "{" in operation.path:
                methods = self._templates.setdefault(parts, {})
            else:
                methods = self._fixed.setdefault(operation.path, {})
            methods[operation.method] = operation
            if operation.method == "GET":
                methods["HEAD"] = operation

    def at(self, path: str) -> tuple[Methods, dict[str, str]]:
        """The operations at a path, and the parameters in it. Raises `UnknownPath`."""
        if (methods := self._fixed.get(path)) is not None:
            return methods, {}
        parts = path.split("/")
        for template, methods in self._templates.items():
            if (parameters := _parameters(template, parts)) is not None:
                return methods, parameters
        raise UnknownPath


def of_method(methods: Methods, method: str) -> Operation:
    """The operation of a path that has the method. Raises `MethodNotAllowed`."""
    operation = methods.get(method)
    if operation is None:
        raise MethodNotAllowed(allowed(methods))
    return operation


def allowed(methods: Methods) -> str:
    """The methods as the header ``Allow`` lists them."""
    return ", ".join(methods)


def _parameters(template: tuple[str, ...], parts: list[str]) -> dict[str, str] | None:
    """The parts that the template has names for; None where it does not fit."""
    if len(template) != len(parts):
        return None
    parameters: dict[str, str] = {}
    for name, part in zip(template, parts, strict=True):
        if name.startswith("{") and part:
            parameters[name[1:-1]] = part
        elif name != part:
            return None
    return parameters
