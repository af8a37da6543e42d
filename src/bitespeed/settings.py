"""Settings: flags win over the environment, which wins over the defaults here."""

import math
import os
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from bitespeed.caches import CacheOptions
from bitespeed.caches.answers import TTL
from bitespeed.errors import InvalidInput
from bitespeed.service.batching import DEADLINE, MAX_WAITING, MAX_WAITING_PER_TENANT, Limits
from bitespeed.stores.options import POOL_SIZE, TIMEOUT, Options
from bitespeed.telemetry import TelemetryOptions
from bitespeed.telemetry.large_identities import LARGE_IDENTITY
from bitespeed.telemetry.logs import Level, LogFormat


class Settings(msgspec.Struct, frozen=True):
    """How this process is to run."""

    database: str = "sqlite:///bitespeed.db"
    """URL of the database: a SQLite file, by default in the working directory; a PostgreSQL server;
    or the https:// address of a Supabase project, for its Data API.
    """
    key: str | None = None
    """Secret key of the Supabase project, also called service_role."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on."""
    public: bool = False
    """Whether to answer everybody without an API key, on any address, as long as there is none."""
    hostnames: str | None = None
    """Names of this service besides those of a loopback address, separated by commas. While no key
    is needed, requests with another Host are refused, on a loopback address and wherever this is
    set.
    """
    workers: int = 1
    """Number of server processes, on one database."""
    rate_limit: float | None = None
    """Observations and look-ups a second that each API key may send; beyond it, 429. For all
    processes together where there is a cache, else for each.
    """
    max_connections: int = 4000
    """Maximum number of callers' connections to one process."""
    client_timeout: float = 20.0
    """Seconds that a caller has to send the head of a request, to send its body, and to read the
    answer; then its connection is closed.
    """
    region: str | None = None
    """ISO 3166 code of the country of phone numbers without a country code."""
    deadline: float = DEADLINE
    """Seconds within which a request is answered, if only with 503."""
    max_waiting: int = MAX_WAITING
    """Maximum number of observations that wait or are in flight in one process; beyond it, 503."""
    max_waiting_per_tenant: int = MAX_WAITING_PER_TENANT
    """The same for one tenant; beyond it, 429."""
    large_identity: int = LARGE_IDENTITY
    """Number of contacts from which an identity is logged as large."""
    max_answer: int | None = None
    """Maximum number of contacts in an answer; beyond it, 413 with the id of the primary one."""
    redis_url: str | None = None
    """URL of a Redis or Valkey server that caches answers, ``redis://`` or ``rediss://``."""
    upstash_url: str | None = None
    """URL of an Upstash database that caches answers, over its REST API."""
    upstash_token: str | None = None
    """Token of the Upstash database."""
    cache_ttl: int = TTL
    """Seconds that an answer is kept in the cache."""
    database_pool: int = POOL_SIZE
    """Maximum number of connections of one process to a database server."""
    database_timeout: float = TIMEOUT
    """Seconds that a database server has to accept a connection and to answer; less than the
    deadline.
    """
    migrate: bool = True
    """Whether servers and commands bring the schema of a database server to their version."""
    ignore_existing: bool = False
    """Whether to begin with empty tables beside a table ``public.contact`` that has contacts and is
    not adopted; if not, whatever writes refuses to start.
    """

    log_format: LogFormat | None = None
    """Format of the log: json or text. By default text on a terminal, and json elsewhere."""
    log_level: Level = "info"
    """Lowest level that is logged: debug, info, warning or error."""
    otlp_endpoint: str | None = None
    """Base address of an OpenTelemetry collector that receives traces over HTTP."""
    sentry_dsn: str | None = None
    """Address of the Sentry project that errors are reported to, by type and place."""
    sqs_url: str | None = None
    """URL of an SQS queue for observations whose callers do not wait for an answer."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the address to listen on."""
        return is_loopback(self.host)

    @property
    def hostname_list(self) -> list[str]:
        """What `hostnames` lists, in lower case."""
        return [name.strip().lower() for name in (self.hostnames or "").split(",") if name.strip()]

    @property
    def needs_key(self) -> bool:
        """Whether a request without an API key is refused."""
        return not (self.is_loopback or self.public)

    @property
    def url(self) -> str:
        """The URL for callers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def limits(self) -> Limits:
        """What the service needs of them."""
        return Limits(
            self.max_waiting,
            self.max_waiting_per_tenant,
            self.deadline,
            self.large_identity,
            self.max_answer,
        )

    @property
    def options(self) -> Options:
        """What the store needs of them."""
        return Options(
            pool_size=self.database_pool,
            timeout=self.database_timeout,
            migrate=self.migrate,
            ignore_existing=self.ignore_existing,
            key=self.key,
        )

    @property
    def cache(self) -> CacheOptions:
        """What the cache needs of them."""
        return CacheOptions(self.redis_url, self.upstash_url, self.upstash_token, self.cache_ttl)

    @property
    def telemetry(self) -> TelemetryOptions:
        """What telemetry needs of them."""
        return TelemetryOptions(
            self.log_format, self.log_level, self.otlp_endpoint, self.sentry_dsn
        )

    @property
    def database_shown(self) -> str:
        """The URL of the database as its driver reads it, without user, password and parameters,
        to be printed.
        """
        from bitespeed.stores.shown import shown  # here, as a Lambda function does not need it

        return shown(self.database)

    def to_environment(self) -> dict[str, str]:
        """The environment in which `load_settings` returns these settings, for workers."""
        values = msgspec.structs.asdict(self)
        return {VARIABLES[name]: str(value) for name, value in values.items() if value is not None}


def is_loopback(host: str) -> bool:
    """Whether a name or an address, without brackets, means the machine that uses it."""
    from ipaddress import IPv6Address, ip_address  # here, as a Lambda function does not need it

    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761: nobody else's
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


_USUAL = {
    "database": "DATABASE_URL",
    "key": "SUPABASE_KEY",
    "redis_url": "REDIS_URL",
    "upstash_url": "UPSTASH_REDIS_REST_URL",
    "upstash_token": "UPSTASH_REDIS_REST_TOKEN",
    "otlp_endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
    "sentry_dsn": "SENTRY_DSN",
}

_PREFIX = "BITESPEED_"

VARIABLES = {
    name: _USUAL.get(name, f"{_PREFIX}{name.upper()}") for name in Settings.__struct_fields__
}
"""The environment variable of each setting."""

METRICS_DIR = "BITESPEED_METRICS_DIR"
"""Set by the process that starts workers: the folder in which they share their counters."""

SETTINGS_ARN = "BITESPEED_SETTINGS_ARN"
"""On Lambda: the secret or the parameter that holds settings."""

_KNOWN = {*VARIABLES.values(), METRICS_DIR, SETTINGS_ARN}


def load_settings(
    flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """The settings in force: flags that are not None, then the environment, then the defaults.

    Raises `InvalidInput` for a value that cannot work, and for a variable of our prefix that is
    no setting.
    """
    _refuse_unknown(environ)
    given = {name: environ[var] for name, var in VARIABLES.items() if environ.get(var)}
    if "database" not in given and environ.get("SUPABASE_URL"):
        given["database"] = environ["SUPABASE_URL"]
    given |= {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        settings = msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("`$.")[2].rstrip("`")
        raise InvalidInput(f"{VARIABLES[name]} must be {_form(name)}") from None
    _validate(settings)
    return settings


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    """Raise `InvalidInput` for a misspelt setting, which would silently have no effect."""
    for name, value in environ.items():
        if not name.startswith(_PREFIX) or _is_of_kubernetes(name, value):
            continue
        if name not in _KNOWN:
            raise InvalidInput(f"There is no setting {name}; the nearest is {_nearest(name)}")


def _nearest(name: str) -> str:
    """The known variable that is most likely meant by the name."""
    from difflib import get_close_matches  # here, as hardly anybody needs it

    bare = name.removeprefix(_PREFIX)
    likely = [known for known in _KNOWN if known == bare or known.startswith(f"{name}_")]
    return get_close_matches(name, likely or _KNOWN, n=1, cutoff=0)[0]


def _is_of_kubernetes(name: str, value: str) -> bool:
    """Whether Kubernetes gives the variable to every container beside a service of our name, such
    as BITESPEED_SERVICE_HOST or BITESPEED_PORT_80_TCP. Raises `InvalidInput` when it gives the
    variable of a setting.
    """
    if name == VARIABLES["port"] and value.startswith(_ENDPOINTS):
        raise InvalidInput(
            f"{name} is the address that Kubernetes gives for a service named bitespeed, not a"
            " port. Set enableServiceLinks: false in the pod, or give the service another name"
        )
    return "_SERVICE_" in name or "_PORT_" in name or value.startswith(_ENDPOINTS)


_ENDPOINTS = ("tcp://", "udp://", "sctp://")  # as Kubernetes writes the address of a service


def _form(name: str) -> str:
    """The form of a setting, in words."""
    hint = get_type_hints(Settings)[name]
    for kind in (hint, *get_args(hint)):
        if kind in _FORMS:
            return _FORMS[kind]
        if get_origin(kind) is Literal:
            return f"one of {', '.join(get_args(kind))}"
    return "text"


_FORMS = {bool: "true or false", int: "a whole number", float: "a number"}

_POSITIVE = (
    *("workers", "rate_limit", "max_connections", "client_timeout", "deadline"),
    *("max_waiting", "max_waiting_per_tenant", "large_identity", "max_answer"),
    *("cache_ttl", "database_pool", "database_timeout"),
)


def _validate(settings: Settings) -> None:
    for name in _POSITIVE:
        value = getattr(settings, name)
        if value is not None and not 0 < value < math.inf:
            raise InvalidInput(f"{VARIABLES[name]} must be a number above 0")
    if not 0 <= settings.port <= 65_535:
        raise InvalidInput(f"{VARIABLES['port']} must be between 0 and 65535")
    for name in settings.hostname_list:
        if not re.fullmatch(r"[a-z0-9_.-]+|[0-9a-f:.]+", name):
            raise InvalidInput(
                f"{VARIABLES['hostnames']} must be names without scheme and port, separated by"
                " commas"
            )
    if settings.region is not None:
        _validate_region(settings.region)


def _validate_region(region: str) -> None:
    try:
        import phonenumbers
    except ModuleNotFoundError:
        raise InvalidInput(
            "BITESPEED_REGION needs the extra `phone`."
            ' Run this in the source folder: pip install ".[phone]"'
        ) from None
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise InvalidInput("BITESPEED_REGION must be an ISO 3166 country code such as US")
