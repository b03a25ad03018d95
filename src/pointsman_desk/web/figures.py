"""How the desk does: what became of its drafts, what people changed in them, how long customers wait, and how the mailboxes are.

The figures are of the newest cases, so that the page takes the same time however many there are. A case is read again only after it moved.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any, Literal, NamedTuple

from pointsman import CaseQuery, CaseRow, EventRow, Order, Reader
from pointsman.web import Piece, word_difference
from pointsman_desk.places import bookmark_of, tables_for
from pointsman_desk.steps import APPROVE, COUNTERSIGN
from pointsman_desk.web.mail_page import body_in
from pointsman_desk.wiring import Desk

CASES_MAX = 300  # about a day of a busy desk; read in a tenth of a second when the page is opened for the first time
EDITS_MAX = 10  # of the newest edited drafts: as many as a person reads

How = Literal["unattended", "as drafted", "redrafted", "edited", "rejected", "open"]


class Told(NamedTuple):
    """What became of a case: its first intent, how its draft fared, and after how many seconds its first reply left (None: not yet)."""

    intent: str
    how: How
    seconds: float | None
    edited_at: int | None


class Edit(NamedTuple):
    """What a person changed in a draft."""

    case: int
    by: str
    pieces: Sequence[Piece]


class Answer(NamedTuple):
    """How long customers waited for the first reply to mails of an intent, in seconds."""

    intent: str
    replies: int
    median: float
    p95: float


class Box(NamedTuple):
    """How a mailbox is. Times are Unix seconds."""

    name: str
    health: str
    looked_at: float | None
    fetched_at: float | None
    behind: int
    error: str


class Figures:
    """Reads the figures of a desk, and keeps what it has read."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._known: dict[int, tuple[int, Told]] = {}
        self._reading = asyncio.Lock()

    async def values(self) -> Mapping[str, Any]:
        """Return what the page shows."""
        reader = self._desk.engine.reader
        async with self._reading:
            found = await reader.find(CaseQuery(process=self._desk.process.name, order=Order.NEWEST), limit=CASES_MAX)
            rows = {one.case.id: one.case for one in found.rows}
            self._known = {case: seen for case, seen in self._known.items() if case in rows and seen[0] == rows[case].revision}
            moved = [case for case in rows if case not in self._known]
            events: dict[int, list[EventRow]] = defaultdict(list)
            for event in await reader.events_of(moved) if moved else ():
                events[event.case].append(event)
            told = await asyncio.gather(*(_told(reader, rows[case], events[case]) for case in moved))
            self._known |= {case: (rows[case].revision, one) for case, one in zip(moved, told, strict=True)}
            known = {case: self._known[case][1] for case in rows}
        edited = [(case, one.edited_at) for case, one in known.items() if one.edited_at is not None][:EDITS_MAX]
        return {
            "cases": len(known),
            "rates": rates_of(known.values()),
            "answers": answers_of(known.values()),
            "edits": [edit for case, revision in edited if (edit := await _edit(reader, case, revision)) is not None],
            "boxes": await asyncio.to_thread(boxes_of, self._desk),
        }


def rates_of(known: Iterable[Told]) -> list[tuple[str, int, int]]:
    """Return how drafts fared: what, how many, and the share in percent of those that are decided."""
    counts: Counter[How] = Counter(one.how for one in known if one.how != "open")
    decided = sum(counts.values())
    names: tuple[How, ...] = ("as drafted", "redrafted", "edited", "rejected", "unattended")
    return [(name, counts[name], round(100 * counts[name] / decided) if decided else 0) for name in names]


def answers_of(known: Iterable[Told]) -> list[Answer]:
    """Return how long customers waited, by intent, the most frequent one first."""
    waited: dict[str, list[float]] = defaultdict(list)
    for one in known:
        if one.seconds is not None:
            waited[one.intent].append(one.seconds)
    answers = [Answer(intent, len(times), _percentile(times, 50), _percentile(times, 95)) for intent, times in waited.items()]
    return sorted(answers, key=lambda answer: (-answer.replies, answer.intent))


def boxes_of(desk: Desk) -> list[Box]:
    """Return how the mailboxes on servers are, from their bookmarks."""
    boxes = []
    with tables_for(desk.config, create=False) as tables:
        marks = [(account, bookmark_of(desk.config, tables, account)) for account in desk.config.mailboxes]
    for account, mark in marks:
        health = mark.health(desk.clock.now(), account.poll_seconds)
        boxes.append(Box(account.name, health, mark.looked_at, mark.fetched_at, mark.behind, mark.error or ""))
    return boxes


def _percentile(values: Sequence[float], percent: int) -> float:
    """The nearest rank: a time that a customer really waited."""
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]


async def _told(reader: Reader, row: CaseRow, events: Sequence[EventRow]) -> Told:
    decisions = [(event, json.loads(event.facts)) for event in events if event.kind == "resumed" and event.step in {APPROVE, COUNTERSIGN}]
    edits = [event.revision for event, facts in decisions if "reply" in facts.get("fields", ())]
    redrafted = any("instructions" in facts.get("fields", ()) for _, facts in decisions)
    texts = {field.field: field.text for field in await reader.fields(row.id) if field.field in {"intents", "mails", "sent"}}
    intents, mails, sent = (json.loads(texts.get(name, "null")) or [] for name in ("intents", "mails", "sent"))
    how: How = "open"
    if row.outcome == "rejected":
        how = "rejected"
    elif sent:
        how = "edited" if edits else "redrafted" if redrafted else "as drafted" if decisions else "unattended"
    seconds = max(0.0, sent[0]["at"] - mails[0]["at"]) if sent and mails else None
    return Told((intents or ["unclear"])[0].replace("_", " "), how, seconds, edits[0] if edits else None)


async def _edit(reader: Reader, case: int, revision: int | None) -> Edit | None:
    if revision is None or revision < 1:
        return None
    before, after = [await _reply(reader, case, at) for at in (revision - 1, revision)]
    author = str((after.get("value") or after).get("author", ""))
    draft, final = body_in({"reply": before}), body_in({"reply": after})
    return Edit(case, author, word_difference(draft, final)) if draft != final else None


async def _reply(reader: Reader, case: int, revision: int) -> Mapping[str, Any]:
    for field in await reader.fields(case, revision=revision):
        if field.field == "reply":
            return json.loads(field.text) or {}
    return {}
