"""The functions of the PostgreSQL store, called over HTTPS where no connection is possible.

The Data API (PostgREST) runs each call as one transaction, so a commit writes everything or nothing
here too. See docs/supabase.md for the key and the settings of the project.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import httpx
import msgspec

from bitespeed.errors import AccessRefused, InvalidInput, StoreDamaged, StoreUnavailable
from bitespeed.stores.availability import Availability
from bitespeed.stores.options import Options
from bitespeed.stores.postgres.function_store import READS, Arguments, Function, FunctionStore
from bitespeed.stores.postgres.sqlstates import KEYS_OF_SEQUENCES, meaning

if TYPE_CHECKING:
    from bitespeed.model.records import IdentityRecords

MAX_SCAN = 100_000  # contacts; a scan is one response, some 60 MB large then
SCAN_TIMEOUT = 120.0  # seconds; the database reads everything before it responds

SQLSTATE = 5  # characters; PostgREST's own codes have more

_NOT_PREPARED = {"PGRST106", "PGRST202"}  # the schema is not exposed; the function does not exist


class _Refusal(msgspec.Struct):
    """An error of PostgREST. Its message may quote values, so it is searched for our names only."""

    code: str | None = None
    message: str | None = None

    @property
    def constraint(self) -> str | None:
        """The key that was violated, if a sequence has given out its number."""
        if self.code != "23505" or self.message is None:
            return None
        return next((key for key in KEYS_OF_SEQUENCES if f'"{key}"' in self.message), None)


class SupabaseStore(FunctionStore):
    """A `Store` in a Supabase project, reached by its address and its secret key."""

    def __init__(self, url: str, options: Options) -> None:
        super().__init__()
        if not options.key:
            raise InvalidInput("SUPABASE_KEY is required: the project's secret key")
        self._client = httpx.AsyncClient(
            base_url=_base(url),
            headers={"Content-Profile": "bitespeed", "Content-Type": "application/json"},
            timeout=options.timeout,  # for each step of an exchange
            limits=httpx.Limits(
                max_connections=options.pool_size, max_keepalive_connections=options.pool_size
            ),
            trust_env=False,
        )
        self._client.headers.update(_authorization(options.key))
        self._renew = options.renew
        self._availability = Availability()
        self._timeout = options.timeout
        self._in_flight: set[asyncio.Task[httpx.Response]] = set()

    @classmethod
    async def open(cls, url: str, options: Options | None = None) -> "SupabaseStore":
        """Open the store. Raises unless the project responds and has been prepared.

        Raises `NotAdopted` if it has contacts to adopt, unless the options ignore them.
        """
        options = options or Options()
        store = cls(url, options)
        try:
            await (store.ping() if options.ignore_existing else store.require_adopted())
        except BaseException:
            await store.close()
            raise
        return store

    async def _call(self, function: Function, arguments: Arguments) -> bytes | None:
        body = msgspec.json.encode(arguments)
        with self._availability.reads if function in READS else self._availability.writes:
            response = await self._answered(function, body)
        return None if response == b"null" else response

    async def _answered(self, function: Function, body: bytes) -> bytes:
        try:
            return await self._post(function, body)
        except AccessRefused:
            if self._renew is None:
                raise
            _, key = await self._renew()
            self._client.headers.update(_authorization(key or ""))
            return await self._post(function, body)

    async def _post(self, function: str, body: bytes, seconds: float | None = None) -> bytes:
        """The body of a response within ``seconds``, by default the store's timeout."""
        seconds = seconds or self._timeout
        exchange = asyncio.create_task(self._client.post(function, content=body, timeout=seconds))
        self._in_flight.add(exchange)
        exchange.add_done_callback(self._on_exchange_done)
        # A cancelled caller does not cancel the exchange: cancelled at a bad moment, httpcore never
        # gives the connection out again.
        done, _ = await asyncio.wait({exchange}, timeout=seconds)
        if not done:
            exchange.cancel()
            raise StoreUnavailable("The Data API did not answer in time; try again")
        try:
            response = exchange.result()
        except httpx.TimeoutException as error:
            raise StoreUnavailable("The Data API did not answer in time; try again") from error
        except httpx.HTTPError as error:
            raise StoreUnavailable("The Data API cannot be reached; try again") from error
        if response.is_success and "json" in response.headers.get("Content-Type", ""):
            return response.content
        raise _refused(response)

    def _on_exchange_done(self, exchange: asyncio.Task[httpx.Response]) -> None:
        self._in_flight.discard(exchange)
        if not exchange.cancelled():
            exchange.exception()  # the caller may be gone; retrieve it, or asyncio logs it

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self.read("", members=False)

    async def scan(self) -> "AsyncGenerator[list[IdentityRecords]]":
        """See `ScannableStore.scan`. Raises `StoreUnavailable` at more than `MAX_SCAN` contacts."""
        from bitespeed.stores.pages import Rows, paged  # not at a cold start of a Lambda function

        response = await self._post("scan", b'{"max_contacts":%d}' % MAX_SCAN, SCAN_TIMEOUT)
        rows = await asyncio.to_thread(msgspec.json.decode, response, type=Rows | None)
        if rows is None:
            raise StoreUnavailable(
                f"There are more than {MAX_SCAN} contacts, too many for the Data API;"
                " use the project's connection string"
            )
        for page in paged(rows.streams()):
            yield page

    async def close(self) -> None:
        """See `Store.close`."""
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=self._timeout)
        await self._client.aclose()


def _authorization(key: str) -> dict[str, str]:
    """The headers that carry the key."""
    return {"apikey": key, "Authorization": f"Bearer {key}"}


def _base(url: str) -> httpx.URL:
    try:
        base = httpx.URL(f"{url.rstrip('/')}/rest/v1/rpc/")
    except httpx.InvalidURL:
        raise InvalidInput(_FORM) from None
    if not base.host or "%" in base.host:  # httpx has escaped an invalid character
        raise InvalidInput(_FORM)
    return base


def address(url: str) -> str:
    """The host and the port of the project, as httpx finds them. Raises `InvalidInput`."""
    base = _base(url)
    return base.host if base.port is None else f"{base.host}:{base.port}"


_FORM = "The address of the project must look like https://project.supabase.co"


def _refused(response: httpx.Response) -> Exception:
    """The error that a response of the gateway or of PostgREST stands for."""
    try:
        refusal = msgspec.json.decode(response.content, type=_Refusal)
    except msgspec.DecodeError:
        refusal = _Refusal()
    code = refusal.code or ""
    if response.status_code in {401, 403}:
        return AccessRefused("The Data API refuses the key; it must be the project's secret key")
    if code in _NOT_PREPARED:
        return StoreDamaged(
            "The Data API does not know the functions: run bitespeed migrate, and expose the schema"
            " bitespeed in the project's API settings; see docs/supabase.md"
        )
    if len(code) == SQLSTATE and meaning(code) is None:
        return RuntimeError(f"SQLSTATE {code}")  # a mistake in our SQL
    return meaning(code or None, refusal.constraint) or StoreUnavailable(
        "The Data API cannot answer; try again"
    )
