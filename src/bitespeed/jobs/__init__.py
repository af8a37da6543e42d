"""Jobs that take long: imports, copies, checks."""
