"""Mistakes in the rule."""

from support.mutants import Mutant, Suite

RULES = Suite("rules/test_identify.py")
WHY = Suite("store/test_why.py", "sqlite")
AGES = Suite("rules/test_ages.py")

MUTANTS = [
    Mutant(
        "the younger primary wins",
        "rules/draft.py",
        "_age(self.primary_at, self.primary) < _age(other.primary_at, other.primary)",
        "_age(self.primary_at, self.primary) > _age(other.primary_at, other.primary)",
        RULES,
    ),
    Mutant(
        "ages that are equal are not told apart",
        "rules/draft.py",
        "at or 0, contact < 0, abs(contact)",
        "at or 0, False, 0",
        AGES,
    ),
    Mutant(
        "of two born in a batch the later one stays primary",
        "rules/draft.py",
        "contact < 0, abs(contact)",
        "contact < 0, contact",
        AGES,
    ),
    Mutant(
        "a new contact of a date is older than a stored one of the same",
        "rules/draft.py",
        "contact < 0, abs(contact)",
        "contact > 0, abs(contact)",
        AGES,
    ),
    Mutant(
        "a new contact is the primary only of a new identity",
        "rules/draft.py",
        "if _age(at, contact) < _age(self.primary_at, self.primary):",
        "if self.primary == contact:",
        AGES,
    ),
    Mutant(
        "the contact added last is the primary, whatever its date",
        "rules/draft.py",
        "if _age(at, contact) < _age(self.primary_at, self.primary):",
        "if True:",
        AGES,
    ),
    Mutant(
        "a contact without a date may be older than one with a date beside it",
        "rules/draft.py",
        "        self.not_before = max(self.not_before, at + 1)\n",
        "",
        AGES,
    ),
    Mutant(
        "whoever holds the email stays primary",
        "rules/draft.py",
        "(one, other) if one.is_older_than(other) else (other, one)",
        "(one, other)",
        RULES,
    ),
    Mutant(
        "the larger identity keeps its own primary",
        "rules/draft.py",
        "larger.primary, larger.primary_at = elder.primary, elder.primary_at",
        "del elder",
        RULES,
    ),
    Mutant(
        "the contacts of a merged identity are not counted",
        "rules/draft.py",
        "        larger.contacts += smaller.contacts\n",
        "",
        RULES,
    ),
    Mutant(
        "contacts born in the batch are lost from replies in a merge",
        "rules/draft.py",
        "        larger.created += smaller.created\n",
        "",
        RULES,
    ),
    Mutant(
        "an identity born in the batch takes over a stored one",
        "rules/draft.py",
        "return person.version > 0, person.contacts",
        "return False, person.contacts",
        RULES,
    ),
    Mutant(
        "replies are as of the end of the batch",
        "rules/identify.py",
        "[_place(draft, observation).reply() for observation in observations]",
        "[p.reply() for p in [_place(draft, o) for o in observations]]",
        RULES,
    ),
    Mutant(
        "a reply from before a change is given again after it",
        "rules/draft.py",
        "        self.last_reply = None\n",
        "",
        RULES,
    ),
    Mutant(
        "a pair that was seen is kept again",
        "rules/draft.py",
        "return (email, phone) in self.seen",
        "return False",
        RULES,
    ),
    Mutant(
        "pairs of the snapshot count for nothing",
        "rules/draft.py",
        "self.seen.update((value, other) for part in self.pairs for _, value, _, other in part)",
        "pass",
        RULES,
    ),
    Mutant(
        "the pairs of an identity that ends are not taken over",
        "rules/draft.py",
        "        larger.pairs += smaller.pairs\n",
        "",
        RULES,
    ),
    Mutant(
        "no reply waits for the commit",
        "rules/draft.py",
        "                self.is_changed,\n                self.contacts,\n",
        "                False,\n                self.contacts,\n",
        RULES,
    ),
    Mutant(
        "of equally long chains that of the youngest facts is shown",
        "rules/partition.py",
        "key=lambda fact: fact.number)",
        "key=lambda fact: -fact.number)",
        WHY,
    ),
    Mutant(
        "a value that was given up links nothing any more",
        "rules/why.py",
        "    for fact in links(set(facts)):\n",
        "    for fact in links(f for f in facts if not any(n.until for n in f.nodes)):\n",
        WHY,
    ),
    Mutant(
        "a deletion frees no email",
        "rules/delete.py",
        "[email] if email and all(c.email != email for c in rest) else []",
        "[]",
        RULES,
    ),
    Mutant(
        "a deletion frees a phone that another contact carries",
        "rules/delete.py",
        "[phone] if phone and all(c.phone != phone for c in rest) else []",
        "[phone] if phone else []",
        RULES,
    ),
]
