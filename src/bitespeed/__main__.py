"""`python -m bitespeed`."""

from bitespeed.cli import main

main()
