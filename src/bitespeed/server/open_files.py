"""How many connections a process has room for among the files that the system lets it open."""

import os

import msgspec

from bitespeed.settings import Settings
from bitespeed.telemetry.logs import log

RESERVED_FILES = 100  # for what is no caller's connection, about 25, and those just closed or
# accepted, which are not counted among the connections


def with_room_for_connections(settings: Settings) -> Settings:
    """The settings with no more connections than this process, and those it starts, can open.

    Raises the limit of open files as far as the system permits, and logs a warning if the
    connections must be fewer than configured. Without room, accepting fails and everybody waits
    until somebody else leaves, whereas a full process makes room or refuses.
    """
    if os.name != "posix":
        return settings
    import resource

    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if files == resource.RLIM_INFINITY:
        return settings
    room = max(1, files - RESERVED_FILES - settings.database_pool)
    if settings.max_connections <= room:
        return settings
    log.warning(
        "server.connections_limited", wanted=settings.max_connections, limit=room, files=files
    )
    return msgspec.structs.replace(settings, max_connections=room)
