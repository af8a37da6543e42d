"""How the URL of a database is printed.

It is taken apart by the driver that uses it. Another parser may see the end of the user information
elsewhere, where a password has an unescaped ``?``, ``#`` or ``/``, and print a part of it.
"""

from urllib.parse import quote

from bitespeed.errors import InvalidInput


def shown(url: str) -> str:
    """The database without user, password and parameters; only its kind where the driver does not
    understand the URL.
    """
    scheme, _, _ = url.partition("://")
    if scheme == "sqlite":
        return url
    try:
        return f"{scheme}://{_postgres(url) if scheme.startswith('postgres') else _supabase(url)}"
    except InvalidInput:
        return f"{scheme}://..."


def _postgres(url: str) -> str:
    from bitespeed.stores.postgres.handshake import parsed  # psycopg is an extra

    options = parsed(url)
    if "@" in "".join(options.get(part, "") for part in ("host", "port", "dbname")):
        raise InvalidInput("A slash in the password ends the host early")
    hosts = (options.get("host") or options.get("hostaddr") or "").split(",")
    ports = options.get("port", "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    addresses = [
        _host(host) + (f":{port}" if port else "") for host, port in zip(hosts, ports, strict=False)
    ]
    database = f"/{quote(options['dbname'])}" if "dbname" in options else ""
    return ",".join(addresses) + database


def _supabase(url: str) -> str:
    from bitespeed.stores.supabase.store import address  # httpx is an extra

    return address(url)


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else quote(host, safe="")
