"""PgBouncer in transaction mode: who speaks to it shares few connections with everybody else."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import unquote, urlsplit

import psycopg

from support import server_programs
from support.database_url import address_of, at_port, database_of
from support.postgres_server import ENTRY
from support.processes import Daemon, home, within_reach
from support.server import free_port

POOL = 2  # connections to the server: fewer than clients, so that they are really shared

Setting = str | int


@contextmanager
def pgbouncer(database_url: str, **settings: Setting) -> Iterator[str]:
    """The URL of the same database by way of a pool, every transaction on the next connection.

    Settings are PgBouncer's own. It lets everybody in, as the user of the URL.
    """
    port = free_port()
    name = database_of(database_url)
    own: dict[str, Setting] = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "default_pool_size": POOL,
        "server_round_robin": 1,
        "max_client_conn": 1000,
    }
    lines = [f"{key} = {value}\n" for key, value in (own | settings).items()]
    found = server_programs.pgbouncer()
    command, libraries = found.path, found.libraries
    if found.tree:
        tree = within_reach(found.tree)
        command = tree / command.relative_to(found.tree)
        libraries = tuple(tree / library.relative_to(found.tree) for library in libraries)
    with home() as folder:
        config = folder / "config"
        config.write_text(
            f"[databases]\n{name} = {_server(database_url)}\n[pgbouncer]\n{''.join(lines)}"
        )
        daemon = Daemon([command, config], folder, environ=server_programs.environment(libraries))
        url = at_port(database_url, port)
        try:
            daemon.start(lambda: _lets_us_in(url))
            yield url
        finally:
            daemon.stop()


def _server(url: str) -> str:
    """Where PgBouncer finds the database, in the form that it wants."""
    host, port = address_of(url)
    parts = urlsplit(url)
    words = {"host": host, "port": port, "dbname": database_of(url)}
    words |= {"user": unquote(parts.username or "postgres")}
    if parts.password:
        words["password"] = unquote(parts.password)
    quoted = {key: str(value).replace("'", "''") for key, value in words.items()}
    return " ".join(f"{key}='{value}'" for key, value in quoted.items())


def _lets_us_in(url: str) -> bool:
    with suppress(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=ENTRY).close()
        return True
    return False
