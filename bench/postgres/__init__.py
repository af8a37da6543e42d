"""The service on PostgreSQL, beside what pgbench gets out of the same server."""
