"""What the commands share: options, settings, an open service, and errors in one sentence."""

import asyncio
import errno
import functools
import signal
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ParamSpec

import click
import msgspec
from rich.console import Console

from bitespeed.cli.dotenv import read_dotenv
from bitespeed.errors import BitespeedError, NotFound
from bitespeed.runtime import open_only_store, open_prepared_store, open_runtime
from bitespeed.service.service import Service
from bitespeed.settings import Settings, load_settings
from bitespeed.stores.protocols import AnyStore
from bitespeed.tenant import DEFAULT_TENANT, tenant_name

P = ParamSpec("P")

NO = 1  # exit status of a negative answer: not found, an invariant is broken
FAILED = 2  # exit status when there is no answer, as click has it for options it does not know
INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it

_OF_DISKS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
"""What a file to write may fail with; such an error does not say which file."""

err = Console(stderr=True, highlight=False)

database = click.option(
    "--database",
    metavar="URL",
    help="The database, such as sqlite:///path/to.db."
    "  [default: $DATABASE_URL, else sqlite:///bitespeed.db in this folder]",
)
region = click.option(
    "--region",
    metavar="CODE",
    help="Country (ISO 3166, such as US) of phone numbers without a country code."
    "  [default: $BITESPEED_REGION, else none]",
)
tenant = click.option(
    "--tenant",
    default=DEFAULT_TENANT,
    show_default=True,
    metavar="SHOP",
    help="The shop whose customers are meant.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun, such as ``1 contact`` or ``2,000 contacts``; ``many`` is the plural
    where that is not the singular with an s.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def reporting_errors(work: Callable[P, None]) -> Callable[P, None]:
    """Print an error that a caller can meet as one sentence, and exit with its status: also one of
    a file that cannot be opened or written, and an interruption by Ctrl-C.
    """

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            work(*args, **kwargs)
        except BitespeedError as error:
            click.echo(f"Error: {error}", err=True)
            raise SystemExit(NO if isinstance(error, NotFound) else FAILED) from None
        except OSError as error:
            if error.filename is None and error.errno not in _OF_DISKS:
                raise
            place = "" if error.filename is None else f": {error.filename}"
            click.echo(f"Error: {error.strerror}{place}", err=True)
            raise SystemExit(FAILED) from None
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            raise SystemExit(INTERRUPTED) from None

    return run


def awaiting(work: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """Make a command of a coroutine function, with errors reported as by `reporting_errors`."""

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner() as runner:
            with _uninterrupted():
                runner.get_loop()  # one that is made by half complains when it is collected
            runner.run(work(*args, **kwargs))

    return reporting_errors(run)


@contextmanager
def _uninterrupted() -> Generator[None]:
    """Let Ctrl-C wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def load(**flags: Any) -> Settings:
    """The settings of a command: flags, then the environment, then ``.env`` in this folder.

    Raises `InvalidInput`.
    """
    read_dotenv()
    return load_settings(flags)


@asynccontextmanager
async def opened(
    database: str | None, region: str | None = None, tenant: str = DEFAULT_TENANT
) -> AsyncGenerator[tuple[Service, Settings]]:
    """The tenant's service on the database that the flags and the environment name."""
    tenant_name(tenant)
    settings = load(database=database, region=region)
    async with open_runtime(settings) as runtime:
        yield runtime.tenants.of(tenant), settings


@asynccontextmanager
async def opened_to_read(
    database: str | None, region: str | None = None, tenant: str = DEFAULT_TENANT
) -> AsyncGenerator[tuple[Service, Settings]]:
    """As `opened`, for a command that only reads: no file is created, nothing is migrated, and no
    cache is touched.
    """
    tenant_name(tenant)
    settings = load(database=database, region=region)
    without_cache = msgspec.structs.replace(settings, redis_url=None, upstash_url=None)
    async with open_runtime(without_cache, open_prepared_store) as runtime:
        yield runtime.tenants.of(tenant), settings


@asynccontextmanager
async def opened_store_to_read(database: str | None) -> AsyncGenerator[AnyStore]:
    """The store alone, for a command that only reads; see `opened_to_read`."""
    async with open_only_store(load(database=database), open_prepared_store) as store:
        yield store


@asynccontextmanager
async def opened_store(database: str | None, **flags: Any) -> AsyncGenerator[AnyStore]:
    """The store alone, without a cache in front of it."""
    async with open_only_store(load(database=database, **flags)) as store:
        yield store
