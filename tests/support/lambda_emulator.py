"""A Lambda function as it is deployed, under AWS's own runtime client and emulator.

Requests become events as API Gateway makes them, so every request to a server may also go to a
function.
"""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from support import server_programs
from support.backends import connected
from support.server import START, Reply, Server, free_port

INVOKE = "/2015-03-31/functions/function/invocations"
ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
INVOCATION_TIMEOUT = 60.0  # seconds for an invocation, the first of which opens everything
BUILD = 300.0  # seconds for a build, which may have to download

KINDS = ("http api", "rest api", "function url")

Event = dict[str, Any]


def build(folder: Path, architecture: str = ARCHITECTURE, python: str = PYTHON) -> Path:
    """The package of the functions, as `sam build` makes it."""
    makefile = Path(__file__).parents[2] / "deploy" / "Makefile"
    given = {"ARCHITECTURE": architecture, "PYTHON_VERSION": python, "PYTHON": sys.executable}
    given["MAKEFLAGS"] = ""  # they would have the PYTHON of a `make test` that runs us
    subprocess.run(
        ["make", "--silent", "--makefile", makefile, "package", f"ARTIFACTS_DIR={folder}"],
        env=os.environ | given,
        check=True,
        timeout=BUILD,
        capture_output=True,
    )
    return folder


class Function(Server):
    """A function; ``kind`` is the kind of event that requests come in."""

    kind = KINDS[0]

    def __init__(self, port: int, log: Path, pid: int, direct: str | None) -> None:
        super().__init__(port, Path(), log, pid)
        self._direct = direct

    def invoke(self, event: object) -> Any:
        """What the function returns."""
        with closing(
            HTTPConnection("127.0.0.1", self.port, timeout=INVOCATION_TIMEOUT)
        ) as connection:
            connection.request("POST", INVOKE, json.dumps(event).encode())
            return json.loads(connection.getresponse().read() or b"null")

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """See `Server.ask`."""
        response = self.invoke(request_event(self.kind, method, target, body, dict(headers or {})))
        assert "statusCode" in response, response
        text = response["body"]
        answered = Message()
        for name, value in response["headers"].items():
            answered[name] = value
        answer = b64decode(text) if response["isBase64Encoded"] else text.encode()
        return Reply(response["statusCode"], answered, answer)

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """See `Server.query`."""
        assert self._direct is not None
        with connected(self._direct) as connection:
            return connection.execute(sql.replace("?", "%s").encode(), parameters).fetchall()

    def columns(self, table: str) -> list[str]:
        """See `Server.columns`."""
        sql = "select column_name from information_schema.columns where table_schema = 'bitespeed'"
        named = f"{sql} and table_name = ? order by ordinal_position"
        return [name for (name,) in self.query(named, table)]

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """See `Server.tables`."""
        names = ("contact_record", "event_record", "identifier", "identity")
        return {name: sorted(self.query(f"select * from {name}"), key=str) for name in names}


def request_event(
    kind: str, method: str, target: str, body: bytes | None, headers: dict[str, str]
) -> Event:
    """The event that a request would come in."""
    path, _, query = target.partition("?")
    is_text = body is None or body.isascii()
    text = None if body is None else (body.decode() if is_text else b64encode(body).decode())
    common = {"body": text, "isBase64Encoded": not is_text, "headers": headers}
    if kind == "rest api":
        parameters = parse_qs(query, keep_blank_values=True)
        return common | {
            "resource": path,
            "path": unquote(path),
            "httpMethod": method,
            "multiValueQueryStringParameters": parameters or None,
            "queryStringParameters": {name: values[-1] for name, values in parameters.items()}
            or None,
            "requestContext": {"requestId": "r", "stage": "prod", "httpMethod": method},
        }
    return common | {
        "version": "2.0",
        "routeKey": "$default" if kind == "function url" else f"{method} {path}",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {name.lower(): value for name, value in headers.items()},
        "requestContext": {"http": {"method": method, "path": path}, "stage": "$default"},
    }


def sqs_event(*bodies: str, groups: tuple[str, ...] = ()) -> Event:
    """The event that messages would come in, named m0, m1 and so on."""
    return {
        "Records": [
            {
                "messageId": f"m{n}",
                "receiptHandle": f"r{n}",
                "body": body,
                "attributes": {"MessageGroupId": groups[n]} if groups else {},
                "eventSource": "aws:sqs",
            }
            for n, body in enumerate(bodies)
        ]
    }


@contextmanager
def emulated(
    package: Path,
    folder: Path,
    handler: str = "bitespeed.aws.api.handler",
    *,
    direct: str | None = None,
    **environ: str,
) -> Iterator[Function]:
    """A function that runs the package; ``direct`` is where its database may be looked into."""
    port, runtime_port = free_port(), free_port()
    emulator, client = server_programs.emulator().path, server_programs.runtime_client().path
    command = [emulator, "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
    command += ["--runtime-api-address", f"127.0.0.1:{runtime_port}"]
    command += [sys.executable, "-S", "-m", "awslambdaric", handler]
    settings = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, (client, package))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAMBDA_TASK_ROOT": str(package),
        "AWS_LAMBDA_FUNCTION_NAME": "function",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "10",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "BITESPEED_DATABASE_POOL": "1",
        "BITESPEED_PUBLIC": "true",
    }
    log = folder / f"function-{port}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=package,
            env=settings | environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        function = Function(port, log, process.pid, direct)
        _wait_until_open(function, process)
        yield function
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_open(function: Function, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), function.connect():
            return
        time.sleep(0.02)
    raise AssertionError(f"The emulator did not start:\n{function.log()}")
