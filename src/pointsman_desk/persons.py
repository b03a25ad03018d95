"""Find what the desk keeps of a person: the cases that are theirs, and those of other people that name their address."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pointsman import CaseRow, EffectRow, Reader, Status
from pointsman_desk.case import Case
from pointsman_desk.steps import FOLLOW_UP, SORT, SUPPORT_MAIL

PAGE_CASES = 200  # of some ten kilobytes each: read at once
NOBODY_KNOWS = {"intended", "in_doubt"}
"""The statuses in the ledger of a reply that may or may not have been sent."""


class Kept(NamedTuple):
    """A case with content; `first` says what must be done before it can be erased ("" if nothing), and `subject` is its newest mail's."""

    row: CaseRow
    subject: str
    first: str = ""


class OfPerson(NamedTuple):
    """What the desk keeps of a person: their own `cases`, and the numbers of the cases of `others` that name the address."""

    cases: tuple[Kept, ...]
    others: tuple[int, ...]

    @property
    def ready(self) -> tuple[int, ...]:
        """The cases that can be erased now."""
        return tuple(one.row.id for one in self.cases if not one.first)

    @property
    def open(self) -> tuple[Kept, ...]:
        """The cases about which something must be done first."""
        return tuple(one for one in self.cases if one.first)


async def of_person(reader: Reader, address: str) -> OfPerson:
    """Search every case for an address, whatever its capitals.

    A case is the person's if they wrote one of its mails, if it answers, or is to answer, to them, if its order is theirs, or if it reports that a mail to them
    came back.
    """
    own: list[Kept] = []
    others: list[int] = []
    wanted, after = address.lower(), 0
    pattern = re.compile(rf"(?<![\w.+-]){re.escape(wanted)}(?![\w-]|\.\w)")
    while rows := await reader.cases(process=SUPPORT_MAIL, after=after, limit=PAGE_CASES):
        after = rows[-1].id
        fields = await reader.fields_of([row.id for row in rows], Case.model_fields)
        for row in rows:
            texts = {one.field: one.text for one in fields.get(row.id, ())}
            texts |= {f"message {one.id}": one.body for one in await reader.messages(row.id)} if row.inbox else {}
            values = {name: json.loads(text) for name, text in texts.items() if wanted in text.lower()}
            if wanted in map(str.lower, _theirs(values)):
                subject = json.loads(texts["mail"])["subject"] if texts.get("mail", "null") != "null" else ""
                own.append(Kept(row, subject, _first(row, await reader.effects(row.id))))
            elif any(pattern.search(text.lower()) for text in _leaves(values)):
                others.append(row.id)
    return OfPerson(tuple(own), tuple(others))


def _theirs(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the addresses whose case it is."""
    waiting = [value for name, value in values.items() if name.startswith("message ")]
    letters = [*values.get("mails", ()), *values.get("reports", ()), *waiting, values.get("mail") or {}]
    bounces = [letter.get("bounce") or {} for letter in letters]
    found = [
        values.get("customer_id"), *(letter.get("sender") for letter in letters), *(to for bounce in bounces for to in bounce.get("recipients", ())),
        (values.get("order") or {}).get("email"), (values.get("addressing") or {}).get("to"), *(sent["to"] for sent in values.get("sent", ())),
    ]  # fmt: skip
    yield from filter(None, found)


def _leaves(value: Any) -> Iterator[str]:
    """Yield every text in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)


def _first(row: CaseRow, entries: Sequence[EffectRow]) -> str:
    """Return what must be done before the content of a case can be erased."""
    if row.status in {Status.READY, Status.RUNNING}:
        return f"the desk is working on it; wait, or `pointsman-desk cancel {row.id} --why TEXT`"
    if any(entry.status in NOBODY_KNOWS for entry in entries):
        return f"nobody knows whether its reply was sent; `pointsman-desk resolve {row.id} --arrived`, or `--send-again`"
    if row.status is not Status.WAITING:
        return ""
    if row.step == FOLLOW_UP:
        return f"it waits for the customer's answer; `pointsman-desk close {row.id}`"
    if row.step == SORT:
        return f"it is probably automatic; `pointsman-desk close {row.id}`"
    return f"it waits for a decision; answer it, or `pointsman-desk reject {row.id} --why TEXT`"
