"""The errors that a caller can meet, as the source has them."""

from collections.abc import Iterator

from bitespeed import errors

NEITHER = "Either email or phoneNumber is required"
"""The published error, whose body has no code."""


def family(base: type[errors.BitespeedError]) -> Iterator[type[errors.BitespeedError]]:
    """The class and those derived from it in its module, as deep as they go."""
    yield base
    for derived in base.__subclasses__():
        if derived.__module__ == base.__module__:
            yield from family(derived)


STATUSES = {error.code: error.status for error in family(errors.BitespeedError)}
"""The status that goes with each code; None stands for an error without one."""
