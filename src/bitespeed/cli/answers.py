"""How commands print an answer: the published JSON, or a table."""

import click
from rich.console import Console
from rich.table import Table

from bitespeed.model.identity import Answer
from bitespeed.wire.answers import encode_answer


def print_answer(answer: Answer, *, as_json: bool) -> None:
    """Print the identity that an answer shows."""
    if as_json:
        click.echo(encode_answer(answer))
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("primary contact", str(answer.primary_id))
    table.add_row("emails", "\n".join(answer.emails) or "-")
    table.add_row("phone numbers", "\n".join(answer.phones) or "-")
    table.add_row("secondary contacts", ", ".join(map(str, answer.secondary_ids)) or "-")
    Console(highlight=False, markup=False).print(table)
