"""Values of two persons that differ by so little that they may have been meant as the same."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

from bitespeed.model.facts import Value
from bitespeed.model.identity import Contact

MAX_NEAR = 10  # shown; more say no more
MAX_COMPARED = 200  # contacts of one person: an email has two forms for each letter of its domain
SAME_DIGITS = 9  # at the end of two phone numbers, so all but a country code or a prefix


class Near(NamedTuple):
    """Two values that differ by ``dots``, a ``plus tag``, one letter of the ``domain``, or what
    comes before the last nine ``digits``.
    """

    one: Value
    other: Value
    differ_by: str


def near_misses(one: Sequence[Contact], other: Sequence[Contact]) -> list[Near]:
    """Values of the one person and of the other that differ by little, up to `MAX_NEAR`."""
    emails = _near(_emails(one), _emails(other), _EMAIL_FORMS)
    phones = _near(_phones(one), _phones(other), _PHONE_FORMS)
    return list(islice(chain(emails, phones), MAX_NEAR))


def _emails(contacts: Iterable[Contact]) -> list[str]:
    return list(dict.fromkeys(c.email for c in contacts if c.email is not None))


def _phones(contacts: Iterable[Contact]) -> list[str]:
    return list(dict.fromkeys(c.phone for c in contacts if c.phone is not None))


def _without_dots(email: str) -> list[str]:
    local, _, domain = email.partition("@")
    return [f"{local.replace('.', '')}@{domain}"]


def _without_tag(email: str) -> list[str]:
    local, _, domain = email.partition("@")
    return [f"{local.partition('+')[0]}@{domain}"]


def _without_a_letter(email: str) -> list[str]:
    """The email with each letter of its domain left out: so two that differ by one letter, whether
    it is missing or another one, have a form in common.
    """
    local, _, domain = email.partition("@")
    return [email, *(f"{local}@{domain[:n]}\0{domain[n + 1 :]}" for n in range(len(domain)))] + [
        f"{local}@{domain[:n]}\0{domain[n:]}" for n in range(len(domain) + 1)
    ]


def _last_digits(phone: str) -> list[str]:
    digits = phone.lstrip("+")
    return [digits[-SAME_DIGITS:]] if len(digits) >= SAME_DIGITS else []


_Forms = tuple[tuple[str, str, Callable[[str], list[str]]], ...]

_EMAIL_FORMS: _Forms = (
    ("email", "dots", _without_dots),
    ("email", "plus tag", _without_tag),
    ("email", "domain", _without_a_letter),
)
_PHONE_FORMS: _Forms = (("phone", "digits", _last_digits),)


def _near(ours: list[str], theirs: list[str], forms: _Forms) -> Iterator[Near]:
    """Each two values once, as far as the caller goes: all could be as many as their product."""
    found: set[tuple[str, str]] = set()
    for kind, name, forms_of in forms:
        by_form: dict[str, list[str]] = {}
        for value in ours:
            for form in forms_of(value):
                by_form.setdefault(form, []).append(value)
        for other in theirs:
            for form in forms_of(other):
                for value in by_form.get(form, []):
                    if value != other and (value, other) not in found:
                        found.add((value, other))
                        yield Near((kind, value), (kind, other), name)
