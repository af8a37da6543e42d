"""A server whose application is one of another's, at /people.

python mounted_server.py --port 8000 --database sqlite:////tmp/contacts.db
"""

import argparse
from typing import Any

import uvicorn

from bitespeed.server.app import Application
from bitespeed.server.asgi import Receive, Scope, Send
from bitespeed.server.process import OPTIONS
from bitespeed.settings import Settings

MOUNTED_AT = "/people"


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", required=True)
    flags = parser.parse_args()
    mounted = Application(Settings(database=flags.database, port=flags.port))

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/ready":
            scope["root_path"] = MOUNTED_AT
        await mounted(scope, receive, send)

    application: Any = outer
    uvicorn.run(application, host="127.0.0.1", port=flags.port, **OPTIONS)


if __name__ == "__main__":
    main()
