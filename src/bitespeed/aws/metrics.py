"""One line for each invocation: a log entry that CloudWatch takes metrics from (EMF)."""

import os
import time

import msgspec

from bitespeed.telemetry import metrics

NAMESPACE = "bitespeed"

_UNITS = {
    "Requests": "Count",
    "Errors": "Count",
    "Messages": "Count",
    "Duration": "Milliseconds",
    "PrimaryContactsCreated": "Count",
    "ContactsLinked": "Count",
    "IdentitiesMerged": "Count",
    "PairsSeen": "Count",
    "ContactsDeleted": "Count",
    "CacheHits": "Count",
}
_MESSAGES = {
    "PrimaryContactsCreated": "Created new primary contact",
    "ContactsLinked": "Linked contact",
    "IdentitiesMerged": "Merged identities",
    "PairsSeen": "Kept a pair of known values",
    "ContactsDeleted": "Deleted contact",
    "CacheHits": "Cache hit",
}

Counts = dict[str, int]
"""By the metrics of `_MESSAGES`."""


def current_counts() -> Counts:
    """What this process has written and found in the cache since it started."""
    primaries = metrics.identities_created.value
    return {
        "PrimaryContactsCreated": int(primaries),
        "ContactsLinked": int(metrics.contacts_created.value - primaries),
        "IdentitiesMerged": int(metrics.identities_merged.value),
        "PairsSeen": int(metrics.pairs_seen.value),
        "ContactsDeleted": int(metrics.contacts_deleted.value),
        "CacheHits": int(metrics.cache_lookups["hit"].value),
    }


def emit(
    request_id: str, before: Counts, began: float, error: str | None = None, **fields: str | int
) -> None:
    """Print what an invocation did: it began at an instant of `time.time`, with these counts.

    ``error`` is the sentence of the error it ended with. Neither it nor ``fields`` may say whom
    the invocation was about.
    """
    changed = {
        name: count - before[name]
        for name, count in current_counts().items()
        if count != before[name]
    }
    measured = {"Requests": 1, "Duration": round((time.time() - began) * 1000, 3), **changed}
    level = "ERROR" if fields.get("Errors") else "INFO"
    measured |= {name: fields.pop(name) for name in list(fields) if name in _UNITS}
    line = {
        "_aws": {
            "Timestamp": int(began * 1000),
            "CloudWatchMetrics": [
                {
                    "Namespace": NAMESPACE,
                    "Dimensions": [["Function"]],
                    "Metrics": [{"Name": name, "Unit": _UNITS[name]} for name in measured],
                }
            ],
        },
        "Function": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local"),
        "level": level,
        "requestId": request_id,
        "message": "; ".join(_MESSAGES[name] for name in changed),
        **({} if error is None else {"error": error}),
        **measured,
        **fields,
    }
    print(msgspec.json.encode(line).decode(), flush=True)  # noqa: T201 - Lambda reads it there
