"""The embedded store: one SQLite file, nothing to install, safe with several processes."""

from bitespeed.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
