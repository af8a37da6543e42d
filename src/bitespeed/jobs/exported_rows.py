"""Identities as `bitespeed export` writes them, read back as observations.

An exported identity is sets of values, an observation has at most one email and one phone. So the
first email is observed with each phone, and the first phone with each other email.
"""

from typing import NamedTuple, cast

from bitespeed.errors import InvalidInput
from bitespeed.model.identifiers import Observation
from bitespeed.wire.observations import convert_observation

EMAILS, PHONES = "emails", "phone_numbers"  # the columns of the CSV
HEADER = ["primary_contact_id", EMAILS, PHONES, "secondary_contact_ids"]


class ExportedRow(NamedTuple):
    """The values of one exported identity, before they are understood."""

    line: int
    emails: object
    phones: object
    date: None = None
    problem: None = None

    @property
    def email(self) -> object:
        """The emails as a cell of a table of rejects."""
        return _as_cell(self.emails)

    @property
    def phone(self) -> object:
        """The phones as a cell of a table of rejects."""
        return _as_cell(self.phones)

    def observations(self, region: str | None) -> list[Observation]:
        """The observations that give the identity again, its values in their order.

        Raises `InvalidInput` when a value is none, or when no observations can join the values.
        """
        emails, phones = _values(self.emails, "emails"), _values(self.phones, "phoneNumbers")
        if not emails or not phones:
            if len(emails) + len(phones) > 1:
                kind, other = ("emails", "phone number") if emails else ("phone numbers", "email")
                raise InvalidInput(
                    f"Several {kind} without a common {other} cannot be joined by an observation"
                )
            email, phone = next(iter(emails), None), next(iter(phones), None)
            return [convert_observation(email, phone, region)]
        pairs = [(emails[0], phone) for phone in phones]
        pairs += [(email, phones[0]) for email in emails[1:]]
        return [convert_observation(email, phone, region) for email, phone in pairs]


def exported_row_of(line: int, members: dict[str, object]) -> ExportedRow | None:
    """The row in a line of NDJSON; None when the line is not of the exported shape."""
    contact = members.get("contact")
    if len(members) != 1 or not isinstance(contact, dict):
        return None
    members = cast("dict[str, object]", contact)
    return ExportedRow(line, members.get("emails"), members.get("phoneNumbers"))


def _values(values: object, name: str) -> list[object]:
    if not isinstance(values, list):
        raise InvalidInput(f"contact.{name} must be an array")
    return cast("list[object]", values)


def _as_cell(values: object) -> object:
    if not isinstance(values, list):
        return values
    return " ".join(map(str, cast("list[object]", values)))
