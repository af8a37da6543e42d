"""The service: one method for each operation, on batches of what is waiting."""
