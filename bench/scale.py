"""How long and how large: everything about a benchmark that can be turned."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Scale:
    """See `python -m bench --help` for what each of them means."""

    work: Path
    """An existing folder for databases and files of any size."""
    rounds: int = 16
    seconds: int = 1
    rows: int = 1_000_000
    imports: int = 3
    small_contacts: int = 10_000
    big_contacts: int = 10_000_000
    merges: int = 8
    merge_contacts: int = 100_000
    minutes: float = 10.0
    warm_up: float = 30.0
    """Seconds at the beginning of the soak that do not count."""


CONNECTIONS = 32
PRELOADED = 10_000  # customers known before the load begins
SEED = 20_240_229
