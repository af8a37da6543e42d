"""Values that are easily found again, in whatever form they may have got into something."""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from html import escape
from urllib.parse import quote, quote_plus

LOCAL, DOMAIN, NUMBER = "q7canaryzx", "w9canaryvk", "9473816250"

EMAIL = f"{LOCAL}@{DOMAIN}.example"
PHONE = f"+{NUMBER}3"


def forms(value: str) -> Iterator[bytes]:
    """How the value may be spelled; letters in lower case but in Base64."""
    digits = "".join(filter(str.isdigit, value))
    plain = {value, value.swapcase().lower(), quote(value), quote_plus(value), escape(value)}
    plain.add(quote(quote(value)))
    plain.add(json.dumps(value)[1:-1].replace("@", "\\u0040").replace("+", "\\u002b"))
    plain.add("".join(f"\\u{ord(letter):04x}" for letter in value))
    plain.add(value.encode().hex())
    plain.add(value[::-1])
    if len(digits) >= len(NUMBER):
        plain.add(digits)
    for form in plain:
        yield form.lower().encode()


def in_base64(value: str) -> Iterator[bytes]:
    """The letters that the value becomes wherever it begins in what is encoded."""
    for before in range(3):
        for encode in (b64encode, urlsafe_b64encode):
            coded = encode(b"\0" * before + value.encode())
            yield coded[[0, 2, 3][before] : len(coded.rstrip(b"=")) // 4 * 4 - 4]


def as_a_phone(value: str, text: bytes) -> list[bytes]:
    """Where the value is a number, whatever looks like it with its digits in groups."""
    if not value.isdigit():
        return []
    return re.findall(rb"[ ().-]{0,3}".join(digit.encode() for digit in value), text)


def found(media: Mapping[str, bytes], *values: str) -> list[tuple[str, bytes]]:
    """In which media which form of one of the values is."""
    hits: list[tuple[str, bytes]] = []
    for name, text in media.items():
        lower = text.lower()
        for value in values:
            hits += [(name, form) for form in forms(value) if form in lower]
            hits += [(name, form) for form in in_base64(value) if form in text]
            hits += [(name, spelled) for spelled in as_a_phone(value, text)]
    return hits
