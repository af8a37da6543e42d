"""What the people on call see: lines of log, metrics, traces and reports of errors.

The rest calls `stages.stage` and `stages.batch` around what takes time, `events.changed` after a
commit, `failures.failed` for what must not happen, and adds to what `metrics` declares. None of
these ever fails or waits. No email, phone number or key goes in: see docs/logs.md.
"""

import asyncio

import msgspec

from bitespeed.telemetry import failures, logs, sentry, tracing
from bitespeed.telemetry.logs import Form, Level


class TelemetryOptions(msgspec.Struct, frozen=True):
    """What is to be told, and where."""

    form: Form | None = None
    """Of the lines of log; None for text on a terminal and JSON elsewhere."""
    level: Level = "warning"
    """Below it no line is written."""
    otlp_endpoint: str | None = None
    """Where traces go, over HTTP."""
    sentry_dsn: str | None = None
    """Where errors go."""


def configure(options: TelemetryOptions) -> None:
    """Log as told, and whatever breaks without what it broke on. Once in each process."""
    logs.configure(options.form, options.level)
    failures.guard()


def open_exporters(options: TelemetryOptions) -> None:
    """Begin to send traces and errors away, by threads of their own.

    Raises `InvalidInput` when an extra that this needs is not installed.
    """
    if options.otlp_endpoint:
        tracing.open_(options.otlp_endpoint)
    if options.sentry_dsn:
        sentry.open_(options.sentry_dsn)


async def close_exporters() -> None:
    """Send what has not been sent yet, for a few seconds at most."""
    await asyncio.to_thread(tracing.close)
    await asyncio.to_thread(sentry.close)
