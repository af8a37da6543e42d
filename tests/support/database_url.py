"""URLs of databases, taken apart and put together."""

from urllib.parse import urlsplit


def database_of(url: str) -> str:
    """The name of the database."""
    return urlsplit(url).path.removeprefix("/")


def on_server(url: str, database: str) -> str:
    """Another database on the same server, as the same user."""
    parts = urlsplit(url)
    return _joined(parts.netloc, database, parts.query)


def at_port(url: str, port: int) -> str:
    """The same database, as the same user, by way of a port of this machine."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return _joined(f"{user}{at}127.0.0.1:{port}", database_of(url), parts.query)


def as_user(url: str, name: str, password: str) -> str:
    """The same database, as another user."""
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    return _joined(f"{name}:{password}@{address}", database_of(url), parts.query)


def address_of(url: str) -> tuple[str, int]:
    """Where its server listens."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 5432


def _joined(address: str, database: str, query: str) -> str:
    return f"postgresql://{address}/{database}{'?' if query else ''}{query}"
