"""The command ``bitespeed``."""

try:
    from bitespeed.cli.main import main
except KeyboardInterrupt:  # a second of imports, in which somebody may think better of it
    raise SystemExit(130) from None

__all__ = ["main"]
