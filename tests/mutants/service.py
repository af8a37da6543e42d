"""Mistakes in the service, and in what it tells the people on call."""

from support.mutants import Mutant, Suite

SERVICE = Suite("service")
MERGES = Suite("store/test_merges.py", "sqlite")
REFUSALS = Suite("telemetry/test_refusals.py")
QUEUE = Suite("aws/test_queue_worker.py", "logged")
COUNTS = Suite("telemetry/test_metrics.py", "changes_are_counted")

MUTANTS = [
    Mutant(
        "a page without a merge that is wanted has no next one",
        "service/merges.py",
        "read[-1].number if len(read) == size else None",
        "read[-1].number if len(found) == limit else None",
        MERGES,
    ),
    Mutant(
        "replies are given before they are durable",
        "service/pipeline.py",
        "if reply.needs_commit:",
        "if reply.needs_commit and not reply.members:",
        SERVICE,
    ),
    Mutant(
        "what has been answered is tried again",
        "service/pipeline.py",
        "waiting = [pending for pending in batch if not pending.is_resolved]\n        if not",
        "waiting = batch\n        if not",
        SERVICE,
    ),
    Mutant(
        "a failure is logged with its text",
        "telemetry/failures.py",
        "names.append(type(cause).__name__)",
        "names.append(str(cause))",
        SERVICE,
    ),
    Mutant(
        "neighbours of a poisoned observation fail with it",
        "service/pipeline.py",
        "except StoreUnavailable as refusal:",
        "except Exception as refusal:",
        SERVICE,
    ),
    Mutant(
        "merges are counted as pairs",
        "model/changes.py",
        'if event.kind == "pair.seen"]',
        "if event.pair is not None]",
        COUNTS,
    ),
    Mutant(
        "the queue has no bound",
        "service/batching.py",
        "if self._load.waiting + count > self._limits.max_waiting:",
        "if count > self._limits.max_waiting:",
        SERVICE,
    ),
    Mutant(
        "a database that fails every second time fills the log",
        "stores/availability.py",
        "if not self._is_away and now < self._next_line:",
        "if False:",
        REFUSALS,
    ),
    Mutant(
        "a failing sentence is logged for each request",
        "telemetry/refusals.py",
        "if now < next_line:",
        "if now < 0:",
        REFUSALS,
    ),
    Mutant(
        "refusals are logged without limit",
        "telemetry/refusals.py",
        "if self._lines > MAX_REFUSALS:",
        "if self._lines < 0:",
        REFUSALS,
    ),
    Mutant(
        "a queue that is away is logged at each attempt",
        "stores/availability.py",
        "        if not self._is_away:\n",
        "        if not self._is_away or self:\n",
        QUEUE,
    ),
    Mutant(
        "nobody logs that the queue is away",
        "queues/sqs.py",
        "    error = QueueUnavailable\n",
        "",
        QUEUE,
    ),
]
