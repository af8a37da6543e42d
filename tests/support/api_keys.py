"""API keys for tests, and servers that know them."""

import asyncio
import os
import time
from contextlib import contextmanager

from bitespeed.model.api_keys import SCOPES as ALL_SCOPES
from bitespeed.model.api_keys import new_key
from bitespeed.stores import open_store
from support.cluster import cluster
from support.server import Server

NOW = time.time_ns() // 1000


def keep(database, *keys):
    """Put keys into the database."""

    async def put():
        store = await open_store(database)
        try:
            for key in keys:
                await store.put_key(key)
        finally:
            await store.close()

    asyncio.run(put())


def made(tenant="shop", scopes=ALL_SCOPES, expires_at=None):
    return new_key(tenant, scopes, NOW, expires_at, random_bytes=os.urandom)


def bearing(text):
    return {"Authorization": f"Bearer {text}"}


@contextmanager
def guarded(folder, database, *keys, **environ):
    """A server on a database with these keys."""
    keep(database, *keys)
    with cluster(folder, database=database, **environ) as servers:
        (member,) = servers.members
        yield Server(member.port, folder / "contacts.db", folder / "server-0.log", 0)
