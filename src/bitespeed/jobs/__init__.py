"""What runs long: imports, copies, checks."""
