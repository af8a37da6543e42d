"""The ceiling: the same HTTP server as the service's, answering the same bytes every time.

Run as `python -m bench.constant --port P`.
"""

import argparse
import gc

import uvicorn

from bitespeed.server.asgi import Receive, Scope, Send
from bitespeed.server.process import OPTIONS

BODY = (
    b'{"contact":{"primaryContatctId":10000,"emails":["c10000010000@example.com"],'
    b'"phoneNumbers":["10000010000"],"secondaryContactIds":[]}}'
)
"""The service's answer to a customer of the workloads."""

HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the request to its end, then answer `BODY`."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    gc.freeze()  # as the service does
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m bench.constant", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run("bench.constant:application", port=parser.parse_args().port, **OPTIONS)


if __name__ == "__main__":
    main()
