"""What a log must not say where nothing has gone wrong that was not foreseen."""


def complaints(log: str) -> list[str]:
    """Its lines about errors that nobody expected."""
    return [line for line in log.splitlines() if '"level":"error"' in line or "Traceback" in line]
