"""PostgREST behind a gateway, as Supabase's Data API: roles, keys and paths as they are there."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple

import psycopg
from psycopg import sql

from support import server_programs
from support.database_url import as_user, on_server
from support.event_loop_thread import background
from support.postgres_server import ENTRY
from support.processes import Daemon, home, within_reach
from support.server import free_port

SECRET = "a-secret-of-at-least-32-characters-for-tests"
PASSWORD = "a-password-for-tests"  # roles are the cluster's: every run must know the same
LIFE = 24 * 60 * 60  # seconds that a key is good for; longer than any test
ROLES_LOCK = 7_337_001  # of whoever is making roles, in the database `postgres`
CHUNK = 65_536
MAX_ROWS = 1000  # that an answer may have, as Supabase sets it

Setting = str | int | bool

PREFIX = b"/rest/v1"

# What the gateway says of its own accord, as Supabase's does.
NO_KEY = b"401 Unauthorized", b'{"message":"No API key found in request"}'
WRONG_KEY = b"401 Unauthorized", b'{"message":"Invalid API key"}'
NO_ROUTE = b"404 Not Found", b'{"message":"no Route matched with those values"}'
NO_LENGTH = b"411 Length Required", b'{"message":"this gateway takes no chunks"}'

ROLES = """
do $$
declare
    role text;
begin
    foreach role in array array['anon', 'authenticated', 'service_role', 'authenticator'] loop
        if to_regrole(role) is null then
            execute format('create role %I noinherit', role);
        end if;
    end loop;
    alter role service_role bypassrls;
    alter role authenticator login;
    alter role anon set statement_timeout = '3s';
    alter role authenticated set statement_timeout = '8s';
    alter role authenticator set statement_timeout = '8s';
    grant anon, authenticated, service_role to authenticator;
end
$$
"""


class DataApi(NamedTuple):
    """Where it is, as Supabase would write it, and the two keys to it."""

    url: str
    anon_key: str
    service_key: str


def jwt(role: str, life: float = LIFE) -> str:
    """A key for a role, signed as Supabase signs those it hands out."""
    now = int(time.time())
    claims = {"iss": "supabase", "role": role, "iat": now, "exp": int(now + life)}
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_base64(hmac.digest(SECRET.encode(), signed.encode(), 'sha256'))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def create_roles(database_url: str) -> None:
    """Have Supabase's roles on the server, once however many callers come at the same time."""
    password = sql.SQL("alter role authenticator password {}").format(PASSWORD)
    with psycopg.connect(on_server(database_url, "postgres"), connect_timeout=ENTRY) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", [ROLES_LOCK])
        connection.execute(ROLES)
        connection.execute(password)


@contextmanager
def postgrest(
    database_url: str, schemas: str = "bitespeed", **settings: Setting
) -> Iterator[DataApi]:
    """The Data API of a database in which the schemas exist, also with what roles may do there;
    so the roles must have been there when the schemas were made, see `create_roles`.

    Settings are PostgREST's own, as in `PGRST_DB_POOL`, in lower case and without the prefix.
    """
    port, admin_port = free_port(), free_port()
    own: dict[str, Setting] = {
        "db_uri": as_user(database_url, "authenticator", PASSWORD),
        "db_schemas": schemas,
        "db_anon_role": "anon",
        "db_max_rows": MAX_ROWS,
        "jwt_secret": SECRET,
        "server_host": "127.0.0.1",
        "server_port": port,
        "admin_server_port": admin_port,
    }
    environ = {f"PGRST_{name.upper()}": str(value) for name, value in (own | settings).items()}
    keys = jwt("anon"), jwt("service_role")
    program = server_programs.postgrest().path
    command = [within_reach(program.parent) / program.name]
    with home() as folder, _gateway(port, keys) as gateway_port:
        daemon = Daemon(command, folder, environ=environ)
        try:
            daemon.start(lambda: _is_ready(admin_port))
            yield DataApi(f"http://127.0.0.1:{gateway_port}", *keys)
        finally:
            daemon.stop()


def _is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=ENTRY)
    with suppress(OSError, HTTPException):
        connection.request("GET", "/ready")
        status = connection.getresponse().status
        connection.close()
        return status == 200
    connection.close()
    return False


# The gateway. It reads requests as far as it must, and lets answers through as they come.


class Refused(Exception):
    """The gateway answers itself and closes; the arguments are the status and the body."""


@contextmanager
def _gateway(port: int, keys: Collection[str]) -> Iterator[int]:
    """A port where requests must bring one of the keys and begin with the prefix."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _serve(reader, writer, port, keys)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client or PostgREST has gone; then the other has nothing to wait for
        finally:
            writer.close()

    with background() as loop:
        listener = loop.run(asyncio.start_server(connected, "127.0.0.1", 0))
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            loop.run(_close(listener))


async def _close(listener: asyncio.Server) -> None:
    listener.close()


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, keys: Collection[str]
) -> None:
    from_postgrest, to_postgrest = await asyncio.open_connection("127.0.0.1", port)
    answering = asyncio.create_task(_copy(from_postgrest, writer))
    try:
        while True:
            to_postgrest.write(await _request(reader, keys))
            await to_postgrest.drain()
    except Refused as refused:
        status, body = refused.args
        length = str(len(body)).encode()
        head = b"Content-Type: application/json\r\nConnection: close\r\nContent-Length: " + length
        writer.write(b"HTTP/1.1 " + status + b"\r\n" + head + b"\r\n\r\n" + body)
        await writer.drain()
    finally:
        answering.cancel()
        to_postgrest.close()


async def _request(reader: asyncio.StreamReader, keys: Collection[str]) -> bytes:
    """The next request as PostgREST is to see it."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.rstrip().split(b"\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(b":") for x in lines)}
    if b"transfer-encoding" in headers:
        raise Refused(*NO_LENGTH)
    body = await reader.readexactly(int(headers.get(b"content-length", 0)))
    if b"apikey" not in headers:
        raise Refused(*NO_KEY)
    if headers[b"apikey"].decode() not in keys:
        raise Refused(*WRONG_KEY)
    method, target, version = first.split(b" ")
    if not target.startswith(PREFIX + b"/"):
        raise Refused(*NO_ROUTE)
    first = b" ".join((method, target.removeprefix(PREFIX), version))
    return b"\r\n".join((first, *lines)) + b"\r\n\r\n" + body


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK):
        writer.write(chunk)
        await writer.drain()
    writer.close()
