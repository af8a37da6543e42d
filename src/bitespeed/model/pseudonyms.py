"""Stand-ins for emails and phone numbers, where those themselves have no business to be."""

import hashlib


class Pseudonyms:
    """The same stand-in for the same value; only the secret makes it (BLAKE2b keyed, RFC 7693)."""

    def __init__(self, secret: str, size: int, purpose: str = "") -> None:
        """``size`` is in bytes; those for one purpose cannot be matched with those for another."""
        key = secret.encode()[: hashlib.blake2b.MAX_KEY_SIZE]
        self._keyed = hashlib.blake2b(key=key, digest_size=size, person=purpose.encode())

    def __call__(self, value: str) -> str:
        """In hexadecimal digits."""
        hashed = self._keyed.copy()
        hashed.update(value.encode())
        return hashed.hexdigest()
