"""What the service speaks of, as plain values: no decisions, no input or output."""
