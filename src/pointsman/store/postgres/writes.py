"""Write transitions: many in a few statements, inside the transaction of the caller.

The guard runs first: `start` and `move` return the cases that were at the expected revision, fence and inbox. What else their
transitions have is written by one statement for each kind, whatever the size of the batch.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from psycopg import AsyncConnection, AsyncCursor
from psycopg.errors import SerializationFailure

from pointsman.definition.durations import DAY_SECONDS
from pointsman.errors import Conflict, InboxChanged
from pointsman.kernel.rows import EventWrite, FieldWrite, NewCase, Transition, UsageWrite
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.store.base import erased_key
from pointsman.store.journal import packed_in_full
from pointsman.store.postgres.batches import NO_FIELD, Batches
from pointsman.store.postgres.connections import rows_of
from pointsman.store.postgres.delivery import deliver
from pointsman.store.postgres.keeping import erase

Answer = int | Conflict


class Call(NamedTuple):
    """A statement by its name, and its values."""

    name: str
    values: Mapping[str, Any]


class Writing:
    """What a handle needs to write: the statements, its engine, and the era of the transactions' numbers."""

    def __init__(self, sql: Mapping[str, str], incarnation: str, engine: int, era: int) -> None:
        self.sql = sql
        self.incarnation = incarnation
        self.engine = engine
        self.era = era
        self.batches = Batches(sql)

    async def apply(self, connection: AsyncConnection[Any], transitions: Sequence[Transition]) -> list[Answer]:
        """Write transitions of different cases. Return the case number of each, or the Conflict that refused it.

        Raises SerializationFailure if another engine's commit was first; the same work can succeed in a new transaction.
        """
        numbering = _Numbers()
        first = self._guards(transitions, numbering)
        answers = list(zip(first, await self.run(connection, first), strict=True))
        if any(rows for call, rows in answers if call.name == "erased_meanwhile"):
            raise SerializationFailure("the key of a start was erased meanwhile")
        moved = {case for call, rows in answers if call.name in {"start", "move"} for (case,) in rows}
        passed = [t for t in transitions if t.case in moved]
        await self._finish(connection, passed, numbering)
        if len(passed) == len(transitions):
            return [t.case for t in transitions]
        refused = await self.refused(connection, [t for t in transitions if t.case not in moved])
        return [t.case if t.case in moved else refused[t.case] for t in transitions]

    def _guards(self, transitions: Sequence[Transition], numbering: "_Numbers") -> list[Call]:
        """The statements that write the cases and the first row of each journal entry, and say which passed."""
        calls: list[Call] = []
        new = [t.new for t in transitions if t.new is not None]
        keys = sorted({correlation_key(one.process, one.tenant, one.correlation) for one in new if one.correlation is not None})
        calls += [Call("lock_correlation", {"key": key}) for key in keys]
        if receivers := {post.to.case for t in transitions for post in t.posts if post.to.case is not None}:
            calls.append(Call("lock_cases", {"cases": sorted(receivers | {t.case for t in transitions if t.new is None})}))
        guards = {"start": [self._start(t, t.new, numbering) for t in transitions if t.new is not None]}
        guards["move"] = [self._move(t, numbering) for t in transitions if t.new is None]
        calls += [Call(name, {"rows": as_json(rows), "era": self.era}) for name, rows in guards.items() if rows]
        keyed = [
            {name: row[name] for name in ("id", "process", "tenant", "digest")} for row in guards["start"] if row["digest"] is not None
        ]
        return [*calls, Call("erased_meanwhile", {"rows": as_json(keyed)})] if keyed else calls

    def _start(self, t: Transition, new: NewCase, numbering: "_Numbers") -> dict[str, Any]:
        digest = None if new.key is None else erased_key(self.incarnation, new.process, "", new.key)
        row = self._row(t, numbering) | new._asdict() | {"digest": digest, "fence": t.fence + t.claims, "revision": t.revision + 1}
        return row | {"status": t.status, "wake_at": t.wake_at, "outcome": t.outcome, "needs": t.needs, "interruptions": t.interruptions}

    def _move(self, t: Transition, numbering: "_Numbers") -> dict[str, Any]:
        row = self._row(t, numbering) | {"inbox": t.inbox, "interruptions": t.interruptions}
        status = None if t.status is Status.RUNNING else t.status
        return row | {
            "status": status, "claims": int(t.claims) or None, "takes": len(t.takes) or None, "wake_at": t.wake_at, "outcome": t.outcome,
            "needs": t.needs, "version": t.migrated,
        }  # fmt: skip

    def _row(self, t: Transition, numbering: "_Numbers") -> dict[str, Any]:
        field, text, writer, appends = t.fields[0] if t.fields else NO_FIELD
        return {
            "id": t.case, "revision": t.revision, "fence": t.fence, "attempts": t.attempts, "steps": t.steps, "step": t.step, "rule": t.rule,
            "reason": t.reason, "at": t.at, "engine": self.engine if t.status is Status.RUNNING else None, "n": numbering.next(),
            "events": packed_in_full(t.events), "field": field or None, "value": text, "writer": writer if t.fields else None, "appends": appends or None,
        }  # fmt: skip

    async def _finish(self, connection: AsyncConnection[Any], transitions: Sequence[Transition], numbering: "_Numbers") -> None:
        calls, counted = self._rest(transitions, numbering), 0
        if calls:
            answers = await self.run(connection, calls)
            counted = sum(len(rows) for call, rows in zip(calls, answers, strict=True) if call.name in {"insert_intents", "renew_intents"})
        if counted < sum(1 for t in transitions if t.intent is not None):
            raise Conflict("an effect is already settled, or its arguments have changed")
        for t in transitions:
            if t.erases:
                await erase(connection, self.sql, self.incarnation, t.case)
            for post in t.posts:
                await deliver(connection, self.sql, post, post.to.case)

    def _rest(self, transitions: Sequence[Transition], numbering: "_Numbers") -> list[Call]:
        """The statements for what else these transitions have."""
        rows: dict[str, list[dict[str, Any]]] = {}

        def add(statement: str, /, **row: Any) -> None:
            rows.setdefault(statement, []).append(row)

        ended = [t.case for t in transitions if t.ends_branches]
        for t in transitions:
            for write in t.fields[1:]:
                add("insert_journal", n=numbering.next(), case_id=t.case, revision=t.revision + 1, **_of_field(write))
            for branch in t.branches:
                add("upsert_branches", case_id=t.case, **branch._asdict())
            if t.settlement is not None:
                add("settle_effects", **t.settlement._asdict())
            if t.intent is not None:
                name = "renew_intents" if t.intent.again else "insert_intents"
                add(name, case_id=t.case, at=t.at, **t.intent._asdict())
            if t.leaves_pause:
                add("close_pauses", case_id=t.case, closed_by=t.answered_by, at=t.at)
            if t.pause is not None:
                add("insert_pauses", case_id=t.case, revision=t.revision + 1, at=t.at, **t.pause._asdict())
            if t.climbs is not None:
                add("climb_pauses", case_id=t.case, **t.climbs._asdict())
            for message, status in t.takes:
                add("take_messages", id=message, status=status)
            for used in usage_rows(t.case, t.at, t.usage):
                add("add_case_usage", **used)
            for found in t.search:
                if t.new is None and not found.adds:
                    add("delete_search", case_id=t.case, field=found.field)
                for value in found.values:
                    add("insert_search", case_id=t.case, field=found.field, value=value)
                for word in found.words:
                    add("insert_words", case_id=t.case, field=found.field, value=word)
            if t.new is not None and t.new.correlation is not None and t.status not in ENDED:
                add("match_early", case_id=t.case, process=t.new.process, tenant=t.new.tenant, correlation=t.new.correlation)
        for same, name in (("add_case_usage", "add_day_usage"), ("delete_search", "delete_words")):
            if same in rows:
                rows[name] = rows[same]
        calls = [Call(name, {"rows": as_json(rows[name]), "era": self.era}) for name in _ORDER if name in rows]
        # After the branches of the same transition: those of a step that is over are deleted.
        return [*calls, Call("delete_branches", {"cases": ended})] if ended else calls

    async def run(self, connection: AsyncConnection[Any], calls: Sequence[Call]) -> list[list[tuple[Any, ...]]]:
        """Run statements in two round trips, and return the rows of each."""
        *before, last = calls
        cursors: list[AsyncCursor[Any]] = []
        if before:
            async with connection.pipeline():
                cursors += [await connection.execute(self.sql[call.name], call.values) for call in before]
        # Not in the pipeline: psycopg ends one with a Flush, after which the server does not count how long the transaction is silent.
        cursors.append(await connection.execute(self.sql[last.name], last.values))
        return [await cursor.fetchall() if cursor.description else [] for cursor in cursors]  # which a cursor has once the pipeline ends

    async def refused(self, connection: AsyncConnection[Any], transitions: Sequence[Transition]) -> dict[int, Answer]:
        """For each refused transition, the case that an earlier start created, or why it is in conflict."""
        answers: dict[int, Answer] = {}
        starts = [t for t in transitions if t.new is not None]
        if starts:
            keys = [self._start(t, t.new, _Numbers()) | {"place": place} for place, t in enumerate(starts) if t.new is not None]
            for place, case in await rows_of(connection, self.sql["known_starts"], {"rows": as_json(keys)}):
                start = starts[place]
                answers[start.case] = Conflict(f"case {start.case} was not started; start it again") if case is None else case
        moves = [t for t in transitions if t.new is None]
        if moves:
            rows = await rows_of(connection, self.sql["standings"], {"cases": [t.case for t in moves]})
            standings = {case: (revision, fence) for case, revision, fence in rows}
            for t in moves:
                same = standings.get(t.case) == (t.revision, t.fence)
                answers[t.case] = InboxChanged(f"case {t.case} has received a message") if same else has_moved(t)
        return answers

    async def append(
        self, connection: AsyncConnection[Any], case: int, events: Sequence[EventWrite], at: float, usage: Sequence[UsageWrite]
    ) -> None:  # fmt: skip
        """Append events at a case's current revision, and count their usage."""
        calls = [Call("keep_case", {"case": case})]
        if used := usage_rows(case, at, usage):
            calls += [Call(name, {"rows": as_json(used)}) for name in ("add_case_usage", "add_day_usage")]
        if events:
            calls.append(Call("append_events", {"era": self.era, "n": 0, "case": case, "at": at, "events": packed_in_full(events)}))
        await self.run(connection, calls)


def has_moved(t: Transition) -> Conflict:
    """What a transition is told whose case is elsewhere by now."""
    return Conflict(f"case {t.case} is no longer at revision {t.revision}")


_ORDER = (
    "insert_journal", "upsert_branches", "settle_effects", "insert_intents", "renew_intents", "close_pauses", "insert_pauses", "climb_pauses",
    "take_messages", "add_case_usage", "add_day_usage", "delete_search", "delete_words", "insert_search", "insert_words", "match_early",
)  # fmt: skip


class _Numbers:
    """Places of journal rows within their transaction."""

    def __init__(self) -> None:
        self._next = 0

    def next(self) -> int:
        self._next += 1
        return self._next


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows for `json_to_recordset`; what is None is left out."""
    return json.dumps(
        [{name: value for name, value in row.items() if value is not None} for row in rows], ensure_ascii=False, allow_nan=False
    )


def correlation_key(process: str, tenant: str, correlation: str) -> str:
    """What a start and a message lock, so that the message goes to that case and not to another one that starts meanwhile."""
    return json.dumps([process, tenant, correlation])


def usage_rows(case: int, at: float, usage: Sequence[UsageWrite]) -> list[dict[str, Any]]:
    """The usage of responses, a row for each."""
    return [{"case_id": case, "day": int(at // DAY_SECONDS), **used._asdict()} for used in usage]


def _of_field(write: FieldWrite) -> dict[str, Any]:
    return {"field": write.field, "value": write.text, "writer": write.writer, "appends": write.appends}
