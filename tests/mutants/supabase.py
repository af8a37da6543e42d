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
    Mutant(
        "a store is opened beside contacts to adopt over HTTPS",
        "stores/supabase/store.py",
        "store.ping() if options.ignore_existing else store.require_adopted()",
        "store.ping()",
        Suite("store/test_existing_contacts.py", "over_https and published_table"),
    ),
    Mutant(
        "the setting has no effect over HTTPS",
        "stores/supabase/store.py",
        "store.ping() if options.ignore_existing else store.require_adopted()",
        "store.require_adopted()",
        Suite("store/test_existing_contacts.py", "over_https and setting"),
    ),
]
