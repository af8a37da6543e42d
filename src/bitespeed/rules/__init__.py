"""Every decision about identities, as pure functions; `identify.py` is THE RULE."""
