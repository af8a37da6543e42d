"""Identifiers in canonical form. Parse at the edge, trust inside.

Two values are the same exactly when their canonical forms are equal, and
canonicalising a canonical value changes nothing.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NewType

import msgspec

from bitespeed.errors import IdentifierRequired, InvalidInput

Email = NewType("Email", str)
"""A canonical email address: trimmed, lower case, one ``@``, at most 255 characters."""

Phone = NewType("Phone", str)
"""A canonical phone number: digits, at most one leading ``+``, at most 50 characters."""

MAX_EMAIL = 255  # the width of the published `email` column
MAX_PHONE = 50  # the width of the published `phonenumber` column
MAX_RAW = 255  # a value padded beyond this is no typing mistake; it would only be stored

REGION_CACHE = (
    65_536  # numbers whose E.164 form is remembered; parsing one takes tens of microseconds
)

_DROPPED_FROM_PHONES = str.maketrans("", "", " -().\t\N{NO-BREAK SPACE}")
_PHONE = re.compile(r"\+?[0-9]+", re.ASCII)


class Observation(msgspec.Struct, frozen=True, gc=False):
    """What one request says about a person: an email, a phone, or both.

    ``raw_email`` and ``raw_phone`` are the texts that were sent, if they differ from the canonical
    values. ``country`` is the one that a phone number without a country code was read as one of.
    """

    email: Email | None
    phone: Phone | None
    raw_email: str | None = None
    raw_phone: str | None = None
    country: str | None = None


def emails_and_phones(observations: Sequence[Observation]) -> tuple[list[Email], list[Phone]]:
    """The emails and the phones of the observations, each once."""
    return (
        list({o.email for o in observations if o.email is not None}),
        list({o.phone for o in observations if o.phone is not None}),
    )


def observe(email: str | None, phone: str | int | None, region: str | None = None) -> Observation:
    """The canonical observation of what was sent; absent, empty and blank values are no values.

    ``region`` is the ISO 3166 code of the country whose numbers may be written
    without a country code. Raises `InvalidInput` when a given value is not an
    email or a phone number, whatever the other one is, or when neither is given.
    """
    if isinstance(phone, int):
        if phone < 0:
            raise InvalidInput("phoneNumber is not a phone number")
        phone = str(phone)
    canonical_email = parse_email(email) if email else None
    canonical_phone = parse_phone(phone, region) if phone else None
    if canonical_email is None and canonical_phone is None:
        raise IdentifierRequired
    return Observation(
        canonical_email,
        canonical_phone,
        email if canonical_email is not None and email != canonical_email else None,
        phone if canonical_phone is not None and phone != canonical_phone else None,
        region if region and _has_got_country_code(phone, canonical_phone) else None,
    )


def _has_got_country_code(sent: str | None, phone: Phone | None) -> bool:
    return sent is not None and phone is not None and phone[0] == "+" and "+" not in sent


def parse_email(text: str) -> Email | None:
    """The canonical form of an email address; None when the text is blank."""
    email = text.strip().lower()
    if not email:
        return None
    if len(email) > MAX_EMAIL or len(text) > MAX_RAW:
        raise InvalidInput(f"email is longer than {MAX_EMAIL} characters")
    local, _, domain = email.partition("@")
    if not (local and _is_domain(domain) and email.isprintable() and " " not in email):
        raise InvalidInput("email is not an email address")
    return Email(email)


def _is_domain(text: str) -> bool:
    return bool(text) and "@" not in text and "" not in text.split(".")


def parse_phone(text: str, region: str | None = None) -> Phone | None:
    """The canonical form of a phone number; None when the text is blank."""
    phone = text.strip()
    if not phone:
        return None
    if not _PHONE.fullmatch(phone):
        phone = phone.translate(_DROPPED_FROM_PHONES)
        if not _PHONE.fullmatch(phone):
            raise InvalidInput("phoneNumber is not a phone number")
    if len(phone) > MAX_PHONE or len(text) > MAX_RAW:
        raise InvalidInput(f"phoneNumber is longer than {MAX_PHONE} digits")
    return Phone(_e164(phone, region) or phone) if region else Phone(phone)


@lru_cache(maxsize=REGION_CACHE)
def _e164(phone: str, region: str) -> str | None:
    """The number in E.164, or None where it is not a valid number of that region."""
    import phonenumbers

    try:
        number = phonenumbers.parse(phone, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
