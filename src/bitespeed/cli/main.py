"""The group of commands, in the order in which people need them."""

from collections.abc import Iterable

import click

from bitespeed import __version__
from bitespeed.cli.checking import check
from bitespeed.cli.customers import identify, lookup
from bitespeed.cli.serving import serve
from bitespeed.cli.transfer import export, import_


class _InOrder(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bitespeed")
def main() -> None:
    r"""Who is this customer?

    Tells from an email and/or a phone number which person it is, linking and merging what
    belongs together.

    \b
    Start here:
      bitespeed serve
      bitespeed identify --email mcfly@hillvalley.edu --phone 123456
      bitespeed import customers.csv

    Every command works on the database that --database or $DATABASE_URL names, also while a
    server is running on it. Other settings come from the environment: $BITESPEED_REGION,
    $BITESPEED_DEADLINE, $BITESPEED_QUEUE and, for serve, $BITESPEED_HOST, $BITESPEED_PORT
    and $BITESPEED_WORKERS.
    """


_COMMANDS: Iterable[click.Command] = (serve, identify, lookup, import_, export, check)
for _command in _COMMANDS:
    main.add_command(_command)
