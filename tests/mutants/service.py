"""Mistakes in the service, and in what it tells the people on call."""

from support.mutants import Mutant, Suite

SERVICE = Suite("service/test_service.py")

MUTANTS = [
    Mutant(
        "replies are given before they are durable",
        "service/service.py",
        "if not reply.needs_commit:",
        "if not reply.needs_commit or reply.members:",
        SERVICE,
    ),
    Mutant(
        "what has been answered is tried again",
        "service/service.py",
        "waiting = [pending for pending, _ in unsettled if not pending.is_settled]",
        "waiting = batch",
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
        "service/service.py",
        "except StoreUnavailable as refusal:",
        "except Exception as refusal:",
        SERVICE,
    ),
    Mutant(
        "the queue has no bound",
        "service/batching.py",
        "if self._load.waiting + count > self._limits.max_waiting:",
        "if count > self._limits.max_waiting:",
        SERVICE,
    ),
]
