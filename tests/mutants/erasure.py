"""Mistakes in erasures."""

from support.mutants import Mutant, Suite

FILES = Suite("api/test_erasing.py", "bytes")
LOG = Suite("sqlite/test_erased_log.py", "erasure")
ERASURE = Suite("store/test_erasures.py", "sqlite and not made_before")
MADE_BEFORE = Suite("store/test_erasures.py", "made_before_the_erasure and sqlite")

MUTANTS = [
    Mutant(
        "an export shows values of others in facts",
        "wire/subjects.py",
        "if shown is None or node.value in shown",
        "",
        Suite("api/test_erasing.py", "export"),
    ),
    Mutant(
        "labels about an erased contact stay in events of others",
        "rules/erase.py",
        "or any(event.contact_id == contact.id for contact in contacts)",
        "",
        ERASURE,
    ),
    Mutant(
        "labels stay beside the values that an event loses",
        "stores/sqlite/sql/commit.sql",
        "country = null, request = null, label = null",
        "country = null",
        ERASURE,
    ),
    Mutant(
        "pairs in events are not counted in the receipt",
        "rules/erase.py",
        "for row in (*identity.contacts, *identity.events)",
        "for row in identity.contacts",
        FILES,
    ),
    Mutant(
        "what was said before an erasure is believed after it",
        "service/pipeline.py",
        "if waiting[0].made_at is not None:",
        "if not waiting:",
        MADE_BEFORE,
    ),
    Mutant(
        "what is erased stays in the free space of the file",
        "stores/sqlite/database.py",
        '"secure_delete = on"',
        '"secure_delete = off"',
        FILES,
    ),
    Mutant(
        "what is erased stays in the log",
        "stores/sqlite/store.py",
        "if changes.erasure is not None:",
        "if changes.erasure is None:",
        FILES,
    ),
    Mutant(
        "an erasure that a reader stopped is not tried again",
        "stores/sqlite/erased_log.py",
        "await asyncio.sleep(POLL_INTERVAL)\n            await self._report()",
        "await asyncio.sleep(POLL_INTERVAL)",
        LOG,
    ),
    Mutant(
        "nobody knows after a kill that the log holds what is erased",
        "stores/sqlite/write.py",
        'self._run("insert_erasure_in_log", [(erasure.id,)])',
        "pass",
        LOG,
    ),
    Mutant(
        "a misspelt dry run erases",
        "api/endpoints/erasure.py",
        "refuse_parameters_but(call.query, DRY_RUN)",
        "pass",
        Suite("api/test_erasure_dry_run.py", "misspelt"),
    ),
    Mutant(
        "two emails are erased unasked",
        "cli/erase.py",
        "counts.emails <= 1 and counts.phones <= 1",
        "counts.emails <= 2 and counts.phones <= 1",
        Suite("api/test_erasure_dry_run.py", "without_a_terminal"),
    ),
    Mutant(
        "more is erased than was agreed to",
        "service/erasures.py",
        "if agreed is not None and counts != agreed:",
        "if agreed is not None and counts is None:",
        Suite("api/test_erasure_dry_run.py", "agreed"),
    ),
    Mutant(
        "an undated row brings back who is erased",
        "rules/erase.py",
        "made_at is None or made_at <= erased_at[value]",
        "made_at is not None and made_at <= erased_at[value]",
        ERASURE,
    ),
    Mutant(
        "deleted contacts of others keep what is erased",
        "rules/erase.py",
        "for carrier in carriers if carrier.contacts]",
        "for carrier in carriers if not carriers]",
        ERASURE,
    ),
    Mutant(
        "who has no live contact left stays",
        "rules/erase.py",
        "if not i.live_contacts and values &",
        "if i.live_contacts is None and values &",
        ERASURE,
    ),
]
