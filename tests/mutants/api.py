"""Mistakes in who may use the API, and how much it answers."""

from support.mutants import Mutant, Suite

ORIGINS = Suite("api/test_origins.py", "not public and not mounted and not key")
LARGE = Suite("service/test_large_answers.py")
RATES = Suite("api/test_rates.py")

MUTANTS = [
    Mutant(
        "a bucket is forgotten though it is not full",
        "api/rates.py",
        "if not b.is_full()}",
        "if b.is_full()}",
        RATES,
    ),
    Mutant(
        "a key that is looked up again gets a new bucket",
        "api/rates.py",
        "        bucket = self._buckets.get(key)\n",
        "        bucket = None\n",
        RATES,
    ),
    Mutant(
        "a batch passes with a debt",
        "api/rates.py",
        "        if self._tokens < 0:\n            return -self._tokens / self._rate\n",
        "",
        RATES,
    ),
    Mutant(
        "a batch may cost as much as it likes",
        "service/batching.py",
        "        self.contacts -= contacts\n",
        "",
        LARGE,
    ),
    Mutant(
        "equal answers count again and again",
        "service/pipeline.py",
        "if pending.budget is None or reply.last_answer is not None:",
        "if pending.budget is None:",
        LARGE,
    ),
    Mutant(
        "the bytes of a batch have no bound",
        "wire/answers.py",
        "if len(text) <= left:",
        "if text:",
        LARGE,
    ),
    Mutant(
        "a large answer is made on the event loop",
        "service/pipeline.py",
        "if is_large and reply.last_answer is None:",
        "if not is_large and reply.last_answer is None:",
        LARGE,
    ),
    Mutant(
        "a large identity does not wait for its turn",
        "service/pipeline.py",
        "        if not self._are_large(batch):\n            return batch\n",
        "        if batch:\n            return batch\n",
        LARGE,
    ),
    Mutant(
        "a large identity that nobody expects is read beside others",
        "service/pipeline.py",
        "limit = None if waiting[0].is_set_aside else MAX_SMALL",
        "limit = None if waiting[0].is_set_aside is not None else MAX_SMALL",
        LARGE,
    ),
    Mutant(
        "known and unknown names in turns are read one by one",
        "service/pipeline.py",
        "            await self._find_large(batch)\n            for part in self._parts(batch):\n",
        "            for part in ([pending] for pending in batch):\n",
        LARGE,
    ),
    Mutant(
        "what is set aside in flight is subtracted twice",
        "service/batching.py",
        "        if again:\n",
        "        if again and batch in self._gathered:\n",
        LARGE,
    ),
    Mutant(
        "the large answer of a state is that of the one before",
        "rules/draft.py",
        "None if self.is_changed else self.stamp,",
        "self.stamp,",
        LARGE,
    ),
    Mutant(
        "an answer may have one contact more than the limit",
        "service/large_answers.py",
        "if contacts <= limit:",
        "if contacts <= limit + 1:",
        LARGE,
    ),
    Mutant(
        "a batch request holds up lone requests",
        "service/batching.py",
        "MIN_WAITING_FACTOR * self._gathered_in_flight - 1",
        "MIN_WAITING_FACTOR * self._in_flight - 1",
        LARGE,
    ),
    Mutant(
        "the last accepted host stands for every other one",
        "api/origins.py",
        "if host is None or host == self._last_host or",
        "if host is None or self._last_host or",
        ORIGINS,
    ),
    Mutant(
        "another port is the same site",
        "api/origins.py",
        "authority in {host, host.removesuffix(port)}",
        'authority.partition(b":")[0] == host.partition(b":")[0]',
        ORIGINS,
    ),
    Mutant(
        "a page of the same site is one of ours",
        "api/origins.py",
        '{None, b"same-origin", b"none"}',
        '{None, b"same-origin", b"same-site", b"none"}',
        ORIGINS,
    ),
    Mutant(
        "a frame counts as navigation",
        "api/origins.py",
        '        and headers.get(b"sec-fetch-dest") == b"document"\n',
        "",
        ORIGINS,
    ),
    Mutant(
        "a foreign page is let in at once",
        "api/origins.py",
        '            and b"origin" not in headers\n',
        "",
        ORIGINS,
    ),
    Mutant(
        "what needs no key is open to every page",
        "api/dispatch.py",
        "if not operation.is_open:",
        "if operation.scope is not None:",
        ORIGINS,
    ),
]
