"""What the people on call see: logs, metrics, traces and reports of errors.

Other parts call `stages.stage` and `stages.batch` around work that is timed,
`events.report_commit` after a commit and `failures.failed` for unexpected errors, and count in
the metrics that `metrics` declares. None of these calls fails or waits. Never pass an email, a
phone number or a key: see docs/logs.md.
"""

import asyncio

import msgspec

from bitespeed.telemetry import failures, logs, sentry, tracing
from bitespeed.telemetry.logs import Level, LogFormat


class TelemetryOptions(msgspec.Struct, frozen=True):
    """What is logged, and where traces and errors are sent."""

    format: LogFormat | None = None
    """How log lines look. None: text on a terminal, JSON elsewhere."""
    level: Level = "warning"
    """Lines below this level are not written."""
    otlp_endpoint: str | None = None
    """Base address of the OpenTelemetry collector. None: no traces."""
    sentry_dsn: str | None = None
    """Address of the Sentry project. None: no reports."""


def configure(options: TelemetryOptions) -> None:
    """Set up the log, and log every unexpected error without the values it quotes.

    Call it once in each process.
    """
    logs.configure(options.format, options.level)
    failures.guard()


def open_exporters(options: TelemetryOptions) -> None:
    """Start the threads that send traces and errors.

    Raises `InvalidInput` when the extra for one of them is not installed.
    """
    if options.otlp_endpoint:
        tracing.open_(options.otlp_endpoint)
    if options.sentry_dsn:
        sentry.open_(options.sentry_dsn)


async def close_exporters() -> None:
    """Send what is still waiting, and stop. Takes a few seconds at most."""
    await asyncio.to_thread(tracing.close)
    await asyncio.to_thread(sentry.close)
