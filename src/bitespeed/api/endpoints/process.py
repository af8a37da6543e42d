"""/health, /ready and /metrics: for whoever runs the process."""

from bitespeed.api.calls import Backend, Call
from bitespeed.api.http import HttpReply, reply


async def health(_: Backend, __: Call) -> HttpReply:
    """GET /health: the process is alive."""
    return reply(b'{"status": "alive"}')


async def ready(backend: Backend, _: Call) -> HttpReply:
    """GET /ready: the store answers and requests are accepted."""
    await backend.tenants.ping()
    return reply(b'{"status": "ready"}')


async def metrics(_: Backend, __: Call) -> HttpReply:
    """GET /metrics: what all workers have counted."""
    from bitespeed.telemetry import exposition  # takes a tenth of a command's start-up time

    return reply(exposition.text(), content_type=exposition.CONTENT_TYPE)
