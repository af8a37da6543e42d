"""The command ``bitespeed`` with its subcommands, in the order in which people need them."""

from collections.abc import Iterable

import click

from bitespeed import __version__, telemetry
from bitespeed.cli.adopt import adopt
from bitespeed.cli.cache import cache
from bitespeed.cli.check import check
from bitespeed.cli.copy import copy
from bitespeed.cli.erase import erase
from bitespeed.cli.explain import history, merges, why
from bitespeed.cli.export import export
from bitespeed.cli.identify import identify
from bitespeed.cli.import_ import import_
from bitespeed.cli.keys import keys
from bitespeed.cli.lookup import lookup
from bitespeed.cli.migrate import migrate
from bitespeed.cli.pseudonym import pseudonym
from bitespeed.cli.queue import queue
from bitespeed.cli.serve import serve
from bitespeed.telemetry import TelemetryOptions


class _InOrder(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bitespeed")
def main() -> None:
    """Who is this customer?

    Finds out from an email, a phone number or both which customer it is, and keeps together what
    belongs to one.

    \b
    Start here:
      bitespeed serve
      bitespeed identify --email mcfly@hillvalley.edu --phone 123456
      bitespeed import customers.csv

    Every command works on the database that --database or $DATABASE_URL names: a SQLite file or
    a PostgreSQL server, also while a server is running on it. $SUPABASE_URL and $SUPABASE_KEY
    name a Supabase project, $REDIS_URL a cache of answers. docs/operations.md lists all settings.
    They are read from flags, from the environment and from a file .env in this folder; what comes
    first wins.

    \b
    Complete commands and flags with the Tab key (bash; or zsh_source, fish_source):
      eval "$(_BITESPEED_COMPLETE=bash_source bitespeed)"
    """  # noqa: D301 - the character \b, by which click keeps lines as they are
    telemetry.configure(TelemetryOptions())


_COMMANDS: Iterable[click.Command] = (
    serve,
    identify,
    lookup,
    why,
    history,
    merges,
    pseudonym,
    import_,
    export,
    erase,
    check,
    keys,
    copy,
    migrate,
    adopt,
    cache,
    queue,
)
for _command in _COMMANDS:
    main.add_command(_command)
