"""The command ``bitespeed``."""

from bitespeed.cli.main import main

__all__ = ["main"]
