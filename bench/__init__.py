"""Benchmarks: how near the service comes to the ceilings of the machine it runs on."""
