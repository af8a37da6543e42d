"""Right histories, from a naive model of the contract: its requests are carried out one after the
other, with their times then spread so that they overlap.
"""

import random
from functools import cache

from bitespeed.model.records import ContactRecord, EventRecord, IdentityRecord, IdentityRecords
from support.history_checker import Answer, Operation

STEP = 1000  # nanoseconds between two requests of a model

History = list[Operation]
Final = list[IdentityRecords]


def with_pair(event: EventRecord, email: str | None, phone: str | None) -> EventRecord:
    return event._replace(kind_of_value="email", value=email, kind_of_other="phone", other=phone)


class Model:
    """The contract, as naively as can be."""

    def __init__(self) -> None:
        self.contacts: list[ContactRecord] = []
        self.person: dict[int, int] = {}  # of each contact
        self.events: list[EventRecord] = []

    def identify(self, email: str | None, phone: str | None) -> Answer:
        touched = sorted(
            {
                self.person[c.id]
                for c in self.contacts
                if (email and c.email == email) or (phone and c.phone == phone)
            }
        )
        known = {v for c in self.contacts for v in (c.email, c.phone)} | {None}
        if len(touched) == 2:
            self._merge(*touched, email, phone)
        elif not {email, phone} <= known:
            self._add(touched[0] if touched else None, email, phone)
        elif email and phone and not self._has_seen(email, phone):
            self._tell("pair.seen", touched[0], None, None, email, phone)
        values = {email, phone} - {None}
        return self.answer(
            next(self.person[c.id] for c in self.contacts if values & {c.email, c.phone})
        )

    def _add(self, person: int | None, email: str | None, phone: str | None) -> None:
        id_ = len(self.contacts) + 1
        person = person or id_
        at = 10 * id_
        self.contacts.append(
            ContactRecord(id_, "default", person, email, phone, None, None, at, at, None)
        )
        self.person[id_] = person
        self._tell("contact.created", person, id_, None, None, None)

    def _merge(self, elder: int, younger: int, email: str | None, phone: str | None) -> None:
        for id_, person in self.person.items():
            if person == younger:
                self.person[id_] = elder
        self._tell("identities.merged", elder, None, younger, email, phone)

    def _has_seen(self, email: str, phone: str) -> bool:
        of_contacts = {(c.email, c.phone) for c in self.contacts}
        return (email, phone) in of_contacts | {(e.value, e.other) for e in self.events}

    def _tell(
        self,
        kind: str,
        identity: int,
        contact: int | None,
        merged: int | None,
        email: str | None,
        phone: str | None,
    ) -> None:
        event = EventRecord(len(self.events) + 1, "default", 0, kind, identity, 0, contact, merged)
        if kind != "contact.created":
            event = with_pair(event, email, phone)
        self.events.append(event)

    def answer(self, person: int) -> Answer:
        members = [c for c in self.contacts if self.person[c.id] == person]
        return Answer(
            members[0].id,
            tuple(dict.fromkeys(c.email for c in members if c.email)),
            tuple(dict.fromkeys(c.phone for c in members if c.phone)),
            tuple(c.id for c in members[1:]),
        )

    def final(self) -> Final:
        identities = {person: IdentityRecords(person) for person in self.person.values()}
        for contact in self.contacts:
            identity = identities[self.person[contact.id]]
            identity.contacts.append(contact)
            identity.heads.append(
                IdentityRecord(contact.id, "default", self.person[contact.id], None, None, 0, 0, 0)
            )
        for event in self.events:
            identities[self.person[event.identity_id]].events.append(event)
        return list(identities.values())


def some_request(rng: random.Random) -> tuple[str | None, str | None]:
    world = rng.randrange(3)
    email = f"e{rng.randrange(6)}@w{world}" if rng.random() < 0.85 else None
    phone = f"{world}00{rng.randrange(6)}" if rng.random() < 0.85 or email is None else None
    return email, phone


@cache
def serial(seed: int, length: int = 60) -> tuple[History, Final]:
    """One request after the other."""
    return overlapping(seed, length, spread=STEP // 3, unknown=0)


@cache
def overlapping(
    seed: int, length: int = 60, spread: int = 8 * STEP, unknown: float = 0.15
) -> tuple[History, Final]:
    """Requests that begin up to ``spread`` before, and end up to ``spread`` after, they are
    carried out; a share of them without an answer, and half of those not carried out.
    """
    rng = random.Random(seed)
    model = Model()
    history: History = []
    for turn in range(length):
        instant = (turn + 10) * STEP
        begin, end = instant - rng.randint(1, spread), instant + rng.randint(1, spread)
        email, phone = some_request(rng)
        is_known = rng.random() >= unknown
        is_done = is_known or rng.random() < 0.5
        answer = model.identify(email, phone) if is_done else None
        status = 200 if is_known else rng.choice([0, 503])
        history.append(
            Operation(turn % 4, begin, end, email, phone, answer if is_known else None, status)
        )
    rng.shuffle(history)
    return history, model.final()
