"""The one error of the benchmarks."""


class BenchmarkFailed(Exception):
    """No figures: something is missing or went wrong. Its text says what to do."""
