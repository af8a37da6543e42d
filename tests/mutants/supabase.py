"""Mistakes in the store behind the Data API."""

from support.mutants import Mutant, Suite

DATA_API = Suite("store", "data and (empty_store or merged_identity or same_value)")

MUTANTS = [
    Mutant(
        "a refused commit over HTTPS is taken for one that was done",
        "stores/supabase/store.py",
        """return None if response == b"null" else response""",
        "return response",
        DATA_API,
    ),
]
