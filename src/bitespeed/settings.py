"""Settings: from flags, then from the environment, then these defaults."""

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from bitespeed.errors import InvalidInput
from bitespeed.service import DEADLINE, QUEUE, Limits


class Settings(msgspec.Struct, frozen=True):
    """How this process is to run."""

    database: str = "sqlite:///bitespeed.db"
    """URL of the database; a SQLite file by its path, here in the working directory."""
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    """Server processes; they share the database."""
    region: str | None = None
    """ISO 3166 code of the country whose phone numbers come without a country code."""
    deadline: float = DEADLINE
    """Seconds within which a request is answered, if only with 503."""
    queue: int = QUEUE
    """Observations that may wait or be under way in one process; beyond it, 503."""

    @property
    def limits(self) -> Limits:
        """The part that the service takes."""
        return Limits(queue=self.queue, deadline=self.deadline)

    def to_environment(self) -> dict[str, str]:
        """The environment from which `load` makes the same settings, for worker processes."""
        values = msgspec.structs.asdict(self)
        return {VARIABLES[name]: str(value) for name, value in values.items() if value is not None}


VARIABLES = {
    name: "DATABASE_URL" if name == "database" else f"BITESPEED_{name.upper()}"
    for name in Settings.__struct_fields__
}


def load(
    flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """The settings in force; flags that are None were not given. Raises `InvalidInput`."""
    found = {name: environ[var] for name, var in VARIABLES.items() if environ.get(var)}
    found |= {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        settings = msgspec.convert(found, Settings, strict=False)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("`$.")[2].rstrip("`")
        raise InvalidInput(f"{VARIABLES.get(name, name)} has the wrong form: {error}") from None
    _validate(settings)
    return settings


def _validate(settings: Settings) -> None:
    for name in ("workers", "deadline", "queue"):
        if getattr(settings, name) <= 0:
            raise InvalidInput(f"{VARIABLES[name]} must be more than 0")
    if not 0 <= settings.port <= 65_535:
        raise InvalidInput(f"{VARIABLES['port']} must be between 0 and 65535")
    if settings.region is not None:
        _validate_region(settings.region)


def _validate_region(region: str) -> None:
    try:
        import phonenumbers
    except ModuleNotFoundError:
        raise InvalidInput(
            'BITESPEED_REGION needs the phone extra: pip install "bitespeed-identity[phone]"'
        ) from None
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise InvalidInput("BITESPEED_REGION must be an ISO 3166 country code such as US")
