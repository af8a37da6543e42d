"""Who is this customer? Identity reconciliation that is exactly right under concurrency."""

__version__ = "0.1.0"
