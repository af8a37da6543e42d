"""One line for each invocation: a log entry that CloudWatch takes metrics from (EMF)."""

import os
import time
from collections import Counter

import msgspec

NAMESPACE = "bitespeed"

_UNITS = {
    "Requests": "Count",
    "Errors": "Count",
    "Messages": "Count",
    "Duration": "Milliseconds",
    "PrimaryContactsCreated": "Count",
    "ContactsLinked": "Count",
    "IdentitiesMerged": "Count",
    "ContactsDeleted": "Count",
    "CacheHits": "Count",
}
_SHOWN = {
    "founded": ("PrimaryContactsCreated", "Created new primary contact"),
    "contact.created": ("ContactsLinked", "Linked contact"),
    "identities.merged": ("IdentitiesMerged", "Merged identities"),
    "contact.deleted": ("ContactsDeleted", "Deleted contact"),
    "hits": ("CacheHits", "Cache hit"),
}


def tell(request_id: str, happened: Counter[str], began: float, **fields: str | int) -> None:
    """Print what became of an invocation that began at an instant of `time.time`.

    ``fields`` must not tell who it was about.
    """
    shown = [(*_SHOWN[what], count) for what, count in happened.items() if count and what in _SHOWN]
    measured = {"Requests": 1, "Duration": round((time.time() - began) * 1000, 3)}
    measured |= {name: count for name, _, count in shown}
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
        "level": "INFO",
        "requestId": request_id,
        "message": "; ".join(words for _, words, _ in shown),
        **measured,
        **fields,
    }
    happened.clear()
    print(msgspec.json.encode(line).decode(), flush=True)  # noqa: T201 - where Lambda reads it
