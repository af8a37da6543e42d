"""How connections are made: the options of every one, and one for statements, by psycopg's
layer `pq` alone. The rest of psycopg would be most of what a Lambda function loads, for nothing;
see docs/decisions/0022-cold-start.md.
"""

import asyncio
import re
import socket
from collections.abc import Mapping

from psycopg import pq
from psycopg.errors import OperationalError

from bitespeed.errors import InvalidInput

OPTIONS = {
    "application_name": "bitespeed",
    "client_encoding": "utf8",  # ours, whatever the URL, the environment or the database says
    "keepalives_idle": "5",  # seconds; a server that has vanished is given up ...
    "keepalives_interval": "2",
    "keepalives_count": "3",  # ... after three tries
}

UNKNOWN = "The database URL has a part that PostgreSQL does not know"
BEGUN = "connection to server"  # libpq's words, once it has understood all options

Parameters = Mapping[str, str]


def parameters(url: str, timeout: float) -> dict[str, str]:
    """The options for libpq. Raises `InvalidInput` for a URL that it does not understand; its words
    may quote it.
    """
    seconds = max(2, int(timeout))  # whole seconds, and libpq waits no less than two
    return parsed(url) | OPTIONS | {"connect_timeout": str(seconds)}


def parsed(url: str) -> dict[str, str]:
    """The options that libpq finds in a URL. Raises `InvalidInput` as `parameters` does."""
    try:
        return _values(pq.Conninfo.parse(url.encode()))
    except OperationalError:
        raise InvalidInput(UNKNOWN) from None


def conninfo(parameters: Parameters) -> bytes:
    """The parameters as libpq reads them."""
    quoted = {name: re.sub(r"([\\'])", r"\\\1", value) for name, value in parameters.items()}
    return " ".join(f"{name}='{value}'" for name, value in quoted.items()).encode()


async def connected(parameters: Parameters) -> pq.abc.PGconn:
    """A connection. Raises psycopg's `OperationalError`, and `InvalidInput` for a value in the URL
    with which libpq does not even begin.
    """
    server = pq.PGconn.connect_start(conninfo(await _resolved(parameters)))
    try:
        wanted = pq.PollingStatus.WRITING  # first of all, says libpq
        while wanted != pq.PollingStatus.OK:
            _require_hope(server)
            await _ready(server.socket, wanted)
            wanted = server.connect_poll()
    except BaseException:
        server.finish()
        raise
    return server


def _require_hope(server: pq.abc.PGconn) -> None:
    if server.status == pq.ConnStatus.BAD:
        words = server.get_error_message()
        raise OperationalError(words) if BEGUN in words else InvalidInput(UNKNOWN)


async def _ready(socket: int, wanted: int) -> None:
    """Return when the socket is. It is watched no longer than that: libpq may replace it."""
    loop = asyncio.get_running_loop()
    is_ready = asyncio.Event()
    if wanted == pq.PollingStatus.READING:
        add, remove = loop.add_reader, loop.remove_reader
    else:
        add, remove = loop.add_writer, loop.remove_writer
    add(socket, is_ready.set)
    try:
        await is_ready.wait()
    finally:
        remove(socket)


async def _resolved(parameters: Parameters) -> Parameters:
    """With an address for every name, which libpq would look up holding up the event loop.

    Raises `OperationalError` when none has one.
    """
    if "service" in parameters:  # a file knows more, and only libpq reads it
        return parameters
    given = {**_defaults(), **parameters}
    if not given.get("host") or given.get("hostaddr"):
        return parameters
    hosts, ports = given["host"].split(","), given["port"].split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    found = [
        (host, address, port)
        for host, port in zip(hosts, ports, strict=False)
        for address in await _addresses(host)
    ]
    if not found:
        raise OperationalError("No host of the database has an address")
    host, hostaddr, port = (",".join(column) for column in zip(*found, strict=True))
    return {**parameters, "host": host, "hostaddr": hostaddr, "port": port}


def _defaults() -> dict[str, str]:
    """What libpq takes from the environment, and of its own."""
    return _values(pq.Conninfo.get_defaults())


def _values(options: list[pq.ConninfoOption]) -> dict[str, str]:
    return {o.keyword.decode(): o.val.decode() for o in options if o.val is not None}


async def _addresses(host: str) -> list[str]:
    """Where a host is; an empty one for what libpq finds without asking anybody."""
    if not host or host.startswith(("/", "@")) or _is_address(host):
        return [""]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(address[0]) for *_, address in found]


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
