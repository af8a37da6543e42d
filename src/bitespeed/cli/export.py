"""``bitespeed export``."""

import csv
from collections.abc import Callable, Generator
from contextlib import aclosing, contextmanager
from typing import IO

import click

from bitespeed.cli.common import awaiting, database, opened_store_to_read, opened_to_read, region
from bitespeed.cli.private_file import PrivateFile
from bitespeed.errors import InvalidInput
from bitespeed.jobs.csv_cells import escaped
from bitespeed.model.identity import Answer, Contact
from bitespeed.model.records import IdentityRecords
from bitespeed.rules.answer import consolidate
from bitespeed.tenant import DEFAULT_TENANT
from bitespeed.wire.answers import encode_answer
from bitespeed.wire.subjects import encode_person, parse_subject


@click.command(short_help="Write every identity, or all that is stored about one customer.")
@click.option("--format", "format_", type=click.Choice(["ndjson", "csv"]), help="[default: ndjson]")
@click.option("--email", help="Only the customer with this email address.")
@click.option("--phone", help="Only the customer with this phone number.")
@click.option("--contact", type=int, metavar="ID", help="Only the customer with this contact.")
@click.option(
    "--output", type=click.Path(dir_okay=False, writable=True), help="[default: standard output]"
)
@click.option(
    "--tenant", metavar="SHOP", help="Only this tenant.  [default: all; with a customer: default]"
)
@database
@region
@awaiting
async def export(
    format_: str | None,
    email: str | None,
    phone: str | None,
    contact: int | None,
    output: str | None,
    tenant: str | None,
    database: str | None,
    region: str | None,
) -> None:
    """Write every identity, or all that is stored about one customer.

    \b
      bitespeed export > customers.ndjson
      bitespeed export --email mcfly@hillvalley.edu

    Everything is as of one instant, also while a server is running. NDJSON has a line for each
    identity, as POST /identify answers it. CSV has the columns primary_contact_id, emails,
    phone_numbers and secondary_contact_ids, with blanks between several values,
    and an apostrophe before what a spreadsheet would take for a formula; import takes it off again.

    With --email, --phone or --contact it writes one JSON document, for a customer who wants to
    know what is stored: contacts with what was sent and when, deleted ones too, identifiers,
    facts (which values were said to belong together, when, and by whom) and events.
    It is what bitespeed erase would remove.
    """  # noqa: D301 - the character \b, by which click keeps lines as they are
    if (email, phone, contact) != (None, None, None):
        if format_ is not None:
            raise InvalidInput("What is stored about a customer comes as JSON; leave --format out")
        async with opened_to_read(database, region, tenant or DEFAULT_TENANT) as (
            service,
            settings,
        ):
            person = await service.subject_records(
                parse_subject(email, phone, contact, settings.region)
            )
        with _output(output) as stream:
            stream.write(encode_person(person).decode() + "\n")
    else:
        await _export_all(format_ or "ndjson", output, tenant, database)


async def _export_all(
    format_: str, output: str | None, tenant: str | None, database: str | None
) -> None:
    async with opened_store_to_read(database) as store:
        with _output(output) as stream:
            write = _ndjson(stream) if format_ == "ndjson" else _csv(stream)
            async with aclosing(store.scan()) as pages:
                async for page in pages:
                    wanted = (i for i in page if tenant is None or _is_of(i, tenant))
                    for answer in filter(None, map(_answer, wanted)):
                        write(answer)


@contextmanager
def _output(path: str | None) -> Generator[IO[str]]:
    """Standard output, or a private file that appears when everything is in it."""
    if path in (None, "-"):
        with click.open_file("-", "w", encoding="utf-8") as stream:
            yield stream
        return
    file = PrivateFile(path, "output")
    try:
        yield file.open()
    except BaseException:
        file.discard()
        raise
    file.publish()


def _ndjson(stream: IO[str]) -> Callable[[Answer], object]:
    return lambda answer: stream.write(encode_answer(answer).decode() + "\n")


def _csv(stream: IO[str]) -> Callable[[Answer], object]:
    writer = csv.writer(stream)
    writer.writerow(["primary_contact_id", "emails", "phone_numbers", "secondary_contact_ids"])
    return lambda answer: writer.writerow(
        [
            answer.primary_id,
            escaped(" ".join(answer.emails)),
            escaped(" ".join(answer.phones)),
            " ".join(map(str, answer.secondary_ids)),
        ]
    )


def _is_of(identity: IdentityRecords, tenant: str) -> bool:
    return any(head.tenant == tenant for head in identity.heads)


def _answer(identity: IdentityRecords) -> Answer | None:
    """The answer for a stored identity; None when all of its contacts are deleted."""
    live = [Contact(c.id, c.created_at, c.email, c.phone) for c in identity.live_contacts]
    return consolidate(live) if live else None
