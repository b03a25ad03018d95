"""The stub: a full member of the family that keeps everything in memory, and forgets it at the end of the process."""

import json
import sqlite3
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from typing import Any, TypeVar

from pointsman.definition.durations import DAY_SECONDS
from pointsman.definition.state import Blob
from pointsman.definition.transactions import Database
from pointsman.errors import Conflict, InboxChanged, LeaseLost
from pointsman.kernel.events import ERASED_TEXT, Kind, skeleton_of
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.line import Due, take_turns
from pointsman.kernel.rows import (
    BranchRow,
    CaseRow,
    EffectRow,
    EventRow,
    EventWrite,
    FieldRow,
    MessageRow,
    MessageStatus,
    PauseRow,
    Post,
    Transition,
    UsageRow,
    UsageWrite,
)
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.store.base import (
    ANY_ROOM,
    NONE_KNOWN,
    Claimed,
    Collected,
    DefinitionRow,
    Dossier,
    Failpoints,
    Posted,
    ScheduleRow,
    erased_key,
    no_failpoints,
)
from pointsman.store.sqlite_author import authors_database
from pointsman.store.states import Writes

T = TypeVar("T")
_IN_LINE = {Status.READY, Status.WAITING}
_OPEN = {EffectStatus.INTENDED, EffectStatus.NOT_SENT, EffectStatus.IN_DOUBT}


class MemoryStore:
    """The store contract (S2 within the process only) on dictionaries; with `lease_seconds`, several handles share it (`beside`)."""

    def __init__(
        self, *, failpoints: Failpoints = no_failpoints, lease_seconds: float | None = None, now: Callable[[], float] = float
    ) -> None:
        self.incarnation = uuid.uuid4().hex
        self.clock_high_water = 0.0
        self.lease_seconds = lease_seconds
        self.left_running: set[int] = set()
        self._points = failpoints
        self._now = now
        self._handles = [0]  # counters are in lists because all handles count on
        self._highest = [0]
        self._latest = [0.0]  # the store's time as it was told last
        self._engine = 0
        self._leases: dict[int, float] = {}
        self._owners: dict[int, int] = {}
        self._cases: dict[int, CaseRow] = {}
        self._keys: dict[tuple[str, str, str], int] = {}
        self._writes = Writes()
        self._events: list[EventRow | None] = []  # None where one has gone: their numbers are not given again
        self._effects: dict[str, EffectRow] = {}
        self._pauses: dict[int, list[PauseRow]] = {}
        self._branches: dict[int, dict[str, BranchRow]] = {}
        self._messages: list[MessageRow] = []
        self._rows: list[sqlite3.Connection] = []
        self._blobs: dict[str, bytes] = {}
        self._kept_at: dict[str, float] = {}
        self._erased_keys: dict[tuple[str, str, str, str], int] = {}
        self._schedules: dict[tuple[str, str], ScheduleRow] = {}
        self._definitions: dict[tuple[str, int, str], DefinitionRow] = {}
        self._limits: dict[str, str] = {}
        self._turns: dict[int, str] = {}
        self._case_usage: dict[int, dict[str, UsageRow]] = {}
        self._day_usage: dict[str, dict[tuple[int, str, str], UsageRow]] = {}

    def beside(self) -> "MemoryStore":
        """A handle on the same cases for another engine, or for the next one where there are no leases."""
        other = copy(self)
        self._handles[0] += 1
        other._engine = self._handles[0]  # noqa: SLF001 - of the same class
        other.left_running = set()
        if self.lease_seconds is not None:
            self._leases[other._engine] = self._time() + self.lease_seconds  # noqa: SLF001
        return other

    def recover(self, *, now: float) -> None:
        """Put what a dead engine left running back into the line, as opening a file does; for a store without leases."""
        self._highest[0] = max(self._cases, default=0)
        for number, row in self._cases.items():
            if row.status is Status.RUNNING:
                self._cases[number] = row._replace(status=Status.READY, wake_at=now)
                self.left_running.add(number)

    # Writing. Nothing here awaits, so a transition is whole for every other task.

    def reserve(self) -> int:
        """A number for a new case."""
        self._highest[0] += 1
        return self._highest[0]

    async def commit(self, transition: Transition) -> int:
        """Commit a transition; every check comes before the first write."""
        t = transition
        self._points("store.commit")
        if t.new is not None and (known := self._by_key(t.new.process, t.new.tenant, t.new.key)) is not None:
            return known
        self._check(t)
        self._write_case(t)
        revision = t.revision + 1
        self._writes.add(t.case, revision, t.fields)
        for kind, step, attempt, facts in t.events:
            self._events.append(EventRow(len(self._events) + 1, t.case, revision, kind, step, attempt, t.at, facts))
        self._write_effect(t)
        self._write_pause(t)
        for branch in t.branches:
            self._branches.setdefault(t.case, {})[branch.name] = BranchRow(*branch)
        if t.ends_branches:
            self._branches.pop(t.case, None)
        if t.erases:
            self._erase(t.case)
        self._count(t.case, t.at, t.usage)
        self._write_messages(t)
        self._points("store.committed")
        return t.case

    async def transact(self, work: Callable[[Database], Transition]) -> int:
        """Commit an author's rows with a transition: the rows live in a database of their own, in memory like the rest."""
        if not self._rows:
            self._rows.append(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
        [rows] = self._rows
        rows.execute("BEGIN")
        try:
            with authors_database(rows) as db:
                transition = work(db)
            number = await self.commit(transition)
        except BaseException:
            rows.execute("ROLLBACK")
            raise
        rows.execute("COMMIT")
        return number

    async def post(
        self, post: Post, start: Transition | None = None, *, released: int | None = None, full: bool = False
    ) -> Posted | None:  # fmt: skip
        """Deliver a message; nothing here awaits anything that could let another task in."""
        if released is not None and self._messages[released - 1].status is not MessageStatus.HELD:
            return Posted(None, MessageStatus.PASSED, duplicate=True)
        if released is None and (known := self._message_by_key(post)) is not None:
            return Posted(known.case, known.status, duplicate=True)
        if (erased := self._erased(post.process, post.tenant, post.name, post.key)) is not None:
            return Posted(erased, MessageStatus.TAKEN, duplicate=True)
        found = None if post.apart else post.case or self._open_case(post)
        if found is not None and released is None:
            return self._deliver_to(post, found)
        status = MessageStatus.HELD if found is not None else MessageStatus.UNMATCHED
        if found is None and start is not None:
            if full:
                return None
            found, status = await self.commit(start), MessageStatus.TAKEN
        if released is not None:
            self._messages[released - 1] = self._messages[released - 1]._replace(case=found, status=status)
        else:
            self._insert_message(post, found, status)
        return Posted(found, status, started=status is MessageStatus.TAKEN)

    async def register(self, definitions: Sequence[DefinitionRow]) -> None:
        """Note definitions that are not known yet."""
        for row in definitions:
            self._definitions.setdefault(row[:3], row)

    async def append(self, case: int, events: Sequence[EventWrite], *, at: float, usage: Sequence[UsageWrite] = ()) -> None:
        """Append events that change nothing of their case, and count what their answers used."""
        if case not in self._cases:
            return
        self._count(case, at, usage)
        revision = self._cases[case].revision
        for kind, step, attempt, facts in events:
            self._events.append(EventRow(len(self._events) + 1, case, revision, kind, step, attempt, at, facts))

    def _count(self, case: int, at: float, usage: Sequence[UsageWrite]) -> None:
        row, day = self._cases[case], int(at // DAY_SECONDS)
        for used in usage:
            of_case = self._case_usage.setdefault(case, {})
            of_case[used.model] = _more(of_case.get(used.model, UsageRow(used.model, 0, 0, 0, 0)), used)
            of_day = self._day_usage.setdefault(row.process, {})
            place = (day, row.tenant, used.model)
            of_day[place] = _more(of_day.get(place, UsageRow(used.model, 0, 0, 0, 0, day, row.tenant)), used)

    async def claim(
        self, processes: Sequence[str], *, now: float, limit: int, room: Mapping[str, int] = ANY_ROOM, known: Mapping[int, int] = NONE_KNOWN
    ) -> list[Claimed]:  # fmt: skip
        """Claim due cases."""
        if self.lease_seconds is not None:
            self._check_lease(self._time())
        due = [
            Due(row.priority, row.tenant, _need(row), at, row.id)
            for at, row in self._claimable(processes)
            if at <= (self._time() if row.status is Status.RUNNING else now)
        ]
        claimed = []
        for case in take_turns(due, limit, room, self._turns):
            row = self._cases[case]
            if row.status is Status.RUNNING:
                self.left_running.add(case)
            taken = row._replace(status=Status.RUNNING, fence=row.fence + 1, attempts=row.attempts + 1, wake_at=None)
            self._cases[row.id] = taken
            self._owners[row.id] = self._engine
            fields = None if known.get(row.id) == row.revision else await self.fields(row.id)
            claimed.append(Claimed(taken, fields, await self.branches(row.id)))
        return claimed

    async def next_wake(self, processes: Sequence[str], *, closed: Collection[str] = ()) -> float | None:
        """When the next case can be claimed."""
        return min((at for at, row in self._claimable(processes) if _need(row) not in closed), default=None)

    async def change_limit(self, name: str, change: Callable[[str | None], tuple[str, T]]) -> T:
        """Replace the state of a limit."""
        self._points("store.commit")
        self._limits[name], answer = change(self._limits.get(name))
        self._points("store.committed")
        return answer

    async def release(self, cases: Sequence[int], *, now: float) -> None:
        """Give running cases back unharmed."""
        for case in cases:
            row = self._cases[case]
            if row.status is Status.RUNNING and (self.lease_seconds is None or self._owners[case] == self._engine):
                self._cases[case] = row._replace(status=Status.READY, wake_at=now, attempts=max(row.attempts - 1, 0))

    async def count_attempt(self, case: int, fence: int, by: int) -> None:
        """Add to the attempts of a running case; see the contract."""
        row = self._cases[case]
        if (row.status, row.fence) == (Status.RUNNING, fence):
            self._cases[case] = row._replace(attempts=max(row.attempts + by, 0))

    async def renew(self) -> float:
        """Prolong this handle's lease."""
        now = self._time()
        self._check_lease(now)
        self._leases[self._engine] = now + (self.lease_seconds or 0.0)
        return now

    async def keep(self, content: bytes, *, now: float) -> Blob:
        """Store a blob by its content."""
        blob = Blob.of(content)
        self._blobs[blob.sha256] = content
        self._kept_at[blob.sha256] = max(now, self._kept_at.get(blob.sha256, now))
        return blob

    async def outcomes(self, process: str) -> list[str]:
        """The outcomes of the cases of a process that are done, each once."""
        return sorted({row.outcome for row in self._cases.values() if row.process == process and row.status in ENDED and row.outcome})

    async def expire(self, process: str, outcome: str | None, *, before: float, at: float, limit: int) -> int:
        """Delete cases that were kept long enough."""
        self._points("store.commit")
        ended = (row for row in self._cases.values() if row.status in ENDED and (row.process, row.outcome) == (process, outcome))
        old = sorted((row.updated_at, row.id) for row in ended if row.updated_at < before and not self._needed(row))
        gone = sorted(case for _, case in old[:limit])
        for case in gone:
            self._remove(case)
        if gone:
            facts = json.dumps({"process": process, "cases": gone})
            self._events.append(EventRow(len(self._events) + 1, gone[-1], 0, Kind.EXPIRED, None, 0, at, facts))
        self._points("store.committed")
        return len(gone)

    async def collect_blobs(self, *, before: float) -> Collected:
        """Delete blobs that nothing refers to; nothing awaits, so nothing is referred to meanwhile."""
        texts = [*self._writes.texts()]
        texts += [row.outcome or "" for row in self._effects.values()] + [row.body for row in self._messages]
        texts += [row.outcome or "" for rows in self._branches.values() for row in rows.values()]
        digests = [digest for digest, kept_at in self._kept_at.items() if kept_at < before and not any(digest in text for text in texts)]
        for digest in digests:
            del self._kept_at[digest]
        return Collected(len(digests), sum(len(self._blobs.pop(digest)) for digest in digests))

    async def compact(self) -> int:
        """Nothing to give back."""
        return 0

    async def schedule(self, process: str, name: str, *, now: float) -> ScheduleRow:
        """Where a schedule stands; one that is not known yet begins `now`."""
        return self._schedules.setdefault((process, name), ScheduleRow(process, name, now, now))

    async def ticked(self, process: str, name: str, tick: float) -> None:
        """Note that this tick of a schedule is over."""
        row = self._schedules[process, name]
        self._schedules[process, name] = row._replace(last=max(row.last, tick))

    def closing(self) -> None:
        """Nobody else holds it."""

    async def close(self) -> None:
        """End the lease; there is nothing else to let go of."""
        self._leases.pop(self._engine, None)

    def _time(self) -> float:
        self._latest[0] = max(self._latest[0], self._now())
        return self._latest[0]

    def _needed(self, row: CaseRow) -> bool:
        """Whether somebody still needs a case that has ended: an effect in doubt, kin that goes on, a message that waits for the end."""
        kin = [other for other in self._cases.values() if other.id == row.parent or other.parent == row.id]
        doubtful = {EffectStatus.INTENDED, EffectStatus.IN_DOUBT}
        return (
            any(other.status not in ENDED for other in kin)
            or any(effect.case == row.id and effect.status in doubtful for effect in self._effects.values())
            or any(message.case == row.id and message.status is MessageStatus.HELD for message in self._messages)
        )

    def _remove(self, case: int) -> None:
        del self._cases[case]
        self._forget_keys(self._keys, case)
        self._forget_keys(self._erased_keys, case)
        self._writes.forget(case)
        for belongings in (self._pauses, self._branches, self._owners, self._case_usage):
            belongings.pop(case, None)
        for key in [key for key, effect in self._effects.items() if effect.case == case]:
            del self._effects[key]
        self._events[:] = [None if event is not None and event.case == case else event for event in self._events]
        self._drop_messages(case)

    def _forget_keys(self, keys: dict[Any, int], case: int) -> None:
        for known in [known for known, number in keys.items() if number == case]:
            del keys[known]

    def _drop_messages(self, case: int) -> None:
        for message in [m for m in self._messages if m.case == case and m.status is not MessageStatus.HELD]:
            gone = MessageRow(message.id, "", "", None, None, None, MessageStatus.PASSED, "null", 0.0)
            self._messages[message.id - 1] = gone

    def _erase(self, case: int) -> None:
        """Take the content of a case away, and leave its skeleton."""
        row = self._cases[case]
        messages = [m for m in self._messages if m.case == case and m.status is not MessageStatus.HELD]
        own = (row.process, row.tenant, "", row.key)
        for process, tenant, name, key in [own, *((m.process, m.tenant, m.name, m.key) for m in messages)]:
            if key is not None:
                self._erased_keys[process, tenant, name, erased_key(self.incarnation, process, name, key)] = case
        self._keys.pop((row.process, row.tenant, row.key or ""), None)
        self._cases[case] = row._replace(key=None, correlation=None)
        self._drop_messages(case)
        self._writes.forget(case)
        self._branches.pop(case, None)
        for key, effect in self._effects.items():
            if effect.case == case:
                outcome, error = None if effect.outcome is None else "{}", None if effect.error is None else ERASED_TEXT
                self._effects[key] = effect._replace(outcome=outcome, error=error)
        for place, event in enumerate(self._events):
            if event is not None and event.case == case and event.kind != Kind.ERASED:
                self._events[place] = event._replace(facts=skeleton_of(event.facts))

    def _by_key(self, process: str, tenant: str, key: str | None) -> int | None:
        return None if key is None else self._keys.get((process, tenant, key), self._erased(process, tenant, "", key))

    def _erased(self, process: str, tenant: str, name: str, key: str | None) -> int | None:
        if key is None or not self._erased_keys:
            return None
        return self._erased_keys.get((process, tenant, name, erased_key(self.incarnation, process, name, key)))

    def _check_lease(self, now: float) -> None:
        if self._leases.get(self._engine, 0.0) <= now:
            raise LeaseLost("this engine was not heard of for longer than its lease, and others may have its cases; open it again.")

    def _claimable(self, processes: Sequence[str]) -> list[tuple[float, CaseRow]]:
        """The cases that can be claimed, and from when on: due ones, and running ones from the end of their lease on."""
        found = []
        for row in self._cases.values():
            if row.process not in processes:
                continue
            if row.wake_at is not None:
                found.append((row.wake_at, row))
            elif row.status is Status.RUNNING and self.lease_seconds is not None and self._owners[row.id] != self._engine:
                found.append((self._leases.get(self._owners[row.id], 0.0), row))
        return found

    def _check(self, t: Transition) -> None:
        if t.new is None:
            row = self._cases.get(t.case)
            if row is None or (row.revision, row.fence) != (t.revision, t.fence):
                raise Conflict(f"case {t.case} is no longer at revision {t.revision}")
            if t.inbox not in {None, row.inbox}:
                raise InboxChanged(f"a message has come to case {t.case}")
        if t.intent is not None:
            entry = self._effects.get(t.intent.key)
            if entry is not None and not t.intent.again:
                raise Conflict(f"effect {t.intent.effect!r} is in the ledger already")
            if t.intent.again and (entry is None or entry.status not in _OPEN or entry.arguments != t.intent.arguments):
                raise Conflict(f"effect {t.intent.effect!r} is settled already, or its arguments have changed")

    def _write_case(self, t: Transition) -> None:
        if t.new is not None:
            process, version, key, tenant, priority, correlation, parent = t.new
            created_at, inbox = t.at, 0
            if key is not None:
                self._keys[process, tenant, key] = t.case
        else:
            row = self._cases[t.case]
            process, version, key, created_at = row.process, t.migrated or row.version, row.key, row.created_at
            tenant, priority, correlation, parent = row.tenant, row.priority, row.correlation, row.parent
            inbox = row.inbox if t.inbox is None else t.inbox - len(t.takes)
        self._cases[t.case] = CaseRow(
            t.case, process, version, key, t.status, t.revision + 1, t.fence + t.claims, t.wake_at, t.attempts, t.steps, t.step, t.rule, t.reason, t.outcome,
            created_at, t.at, tenant, priority, correlation, parent, inbox, t.needs,
        )  # fmt: skip
        if t.claims:
            self._owners[t.case] = self._engine
        self.clock_high_water = max(self.clock_high_water, t.at)

    def _write_messages(self, t: Transition) -> None:
        for number, status in t.takes:
            self._take(number, status)
        for post in t.posts:
            if self._message_by_key(post) is None and post.case is not None:
                self._deliver_to(post, post.case)
        if t.new is not None and t.new.correlation is not None and t.status not in ENDED:
            sought = (t.new.process, t.new.tenant, t.new.correlation)
            unmatched = [m for m in self._messages if m.status is MessageStatus.UNMATCHED]
            early = [m for m in unmatched if (m.process, m.tenant, m.correlation) == sought]
            for message in early:
                self._messages[message.id - 1] = message._replace(case=t.case, status=MessageStatus.PENDING)
            row = self._cases[t.case]
            waits = bool(early) and row.status in {Status.WAITING, Status.PARKED}
            stands, wake_at = (Status.READY, t.at) if waits else (row.status, row.wake_at)
            self._cases[t.case] = row._replace(inbox=len(early), status=stands, wake_at=wake_at)

    def _deliver_to(self, post: Post, case: int) -> Posted:
        row = self._cases.get(case)
        if row is None:
            return Posted(case, MessageStatus.PASSED)
        if post.holds:
            status = MessageStatus.HELD
        elif row.status in ENDED:
            status = MessageStatus.PASSED
        else:
            status = MessageStatus.PENDING
            rests = row.status in {Status.WAITING, Status.PARKED}
            soon = rests or (row.status is Status.READY and post.urgent)
            wake_at = min(post.at, row.wake_at if row.wake_at is not None else post.at) if soon else row.wake_at
            self._cases[case] = row._replace(inbox=row.inbox + 1, wake_at=wake_at, status=Status.READY if rests else row.status)
        self._insert_message(post, case, status)
        return Posted(case, status)

    def _insert_message(self, post: Post, case: int | None, status: MessageStatus) -> None:
        number = len(self._messages) + 1
        row = MessageRow(number, post.process, post.name, post.key, post.correlation, case, status, post.body, post.at, post.tenant)
        self._messages.append(row)

    def _message_by_key(self, post: Post) -> MessageRow | None:
        sought = (post.process, post.tenant, post.name, post.key)
        return next((m for m in self._messages if post.key is not None and (m.process, m.tenant, m.name, m.key) == sought), None)

    def _open_case(self, post: Post) -> int | None:
        if post.correlation is None:
            return None
        sought = (post.process, post.tenant, post.correlation)
        found = (row.id for row in self._cases.values() if (row.process, row.tenant, row.correlation) == sought and row.status not in ENDED)
        return max(found, default=None)

    def _take(self, message: int, status: MessageStatus) -> None:
        row = self._messages[message - 1]
        self._messages[message - 1] = row._replace(status=status, body="null" if status is MessageStatus.LOGGED else row.body)

    def _write_effect(self, t: Transition) -> None:
        if t.settlement is not None and t.settlement.key in self._effects:
            key, status, outcome, error, counts = t.settlement
            if self._effects[key].status is not EffectStatus.DONE or self._effects[key].outcome is None:
                attempts = self._effects[key].attempts - (not counts)
                self._effects[key] = self._effects[key]._replace(status=status, outcome=outcome, error=error, attempts=attempts)
        if t.intent is not None:
            key, effect, arguments, deadline, again = t.intent
            if again:
                entry = self._effects[key]
                self._effects[key] = entry._replace(
                    status=EffectStatus.INTENDED, attempts=entry.attempts + 1, deadline=deadline, error=None
                )
            else:
                self._effects[key] = EffectRow(key, t.case, effect, arguments, EffectStatus.INTENDED, 1, t.at, deadline, None, None)

    def _write_pause(self, t: Transition) -> None:
        pauses = self._pauses.setdefault(t.case, [])
        if t.leaves_pause and pauses and pauses[-1].closed is None:
            closed = "void" if t.answered_by is None else "answered"
            pauses[-1] = pauses[-1]._replace(closed=closed, closed_by=t.answered_by, closed_at=t.at)
        if t.pause is not None:
            name, token, digest, assignee, expires_at = t.pause
            pauses.append(PauseRow(t.case, t.revision + 1, name, token, digest, t.at, None, None, None, 0, assignee, expires_at))
        if t.climbs is not None and pauses and pauses[-1].closed is None:
            pauses[-1] = pauses[-1]._replace(rung=t.climbs.rung, assignee=t.climbs.assignee or pauses[-1].assignee)

    # Looking.

    async def case(self, case: int) -> CaseRow | None:
        """One case, or None."""
        return self._cases.get(case)

    async def cases(self, *, process: str | None = None, status: Status | None = None, after: int = 0, limit: int = 1_000) -> list[CaseRow]:
        """Cases by number, from `after` on."""
        rows = (self._cases[number] for number in sorted(self._cases) if number > after)
        return [row for row in rows if process in {None, row.process} and status in {None, row.status}][:limit]

    async def open_cases(self, *, after: int = 0, limit: int = 1_000) -> list[CaseRow]:
        """Cases that have not ended, by number, from `after` on."""
        return [row for number, row in sorted(self._cases.items()) if number > after and row.status not in ENDED][:limit]

    async def versions(self, process: str) -> list[int]:
        """The versions of which this process has cases that are ready or waiting."""
        return sorted({row.version for row in self._cases.values() if row.process == process and row.status in _IN_LINE})

    async def cases_of_version(self, process: str, version: int, *, limit: int = 1_000) -> list[CaseRow]:
        """Cases of one version that are ready or waiting."""
        rows = (row for _, row in sorted(self._cases.items()) if row.status in _IN_LINE)
        return [row for row in rows if (row.process, row.version) == (process, version)][:limit]

    async def definitions(self) -> list[DefinitionRow]:
        """The definitions that engines were opened with."""
        return sorted(self._definitions.values(), key=lambda row: (row.process, row.version, row.seen_at))

    async def case_by_key(self, process: str, key: str, *, tenant: str = "") -> CaseRow | None:
        """The case that a tenant's start with this key made, or None."""
        number = self._by_key(process, tenant, key)
        return None if number is None else self._cases[number]

    async def counts(self) -> dict[Status, int]:
        """How many cases there are in each status."""
        found: dict[Status, int] = {}
        for row in self._cases.values():
            found[row.status] = found.get(row.status, 0) + 1
        return found

    async def fields(self, case: int, *, revision: int | None = None) -> tuple[FieldRow, ...]:
        """The value of each field, as of `revision`; fields that are cleared are left out."""
        return self._writes.state(case, revision)

    async def events(self, *, after: int = 0, case: int | None = None, limit: int = 1_000) -> list[EventRow]:
        """Events by number, from `after` on."""
        return [event for event in self._events[after:] if event is not None and case in {None, event.case}][:limit]

    async def effect(self, key: str) -> EffectRow | None:
        """The ledger's entry for an idempotency key, or None."""
        return self._effects.get(key)

    async def effects(self, case: int) -> list[EffectRow]:
        """The ledger's entries of a case."""
        return sorted((row for row in self._effects.values() if row.case == case), key=lambda row: (row.intended_at, row.key))

    async def in_doubt(self) -> list[EffectRow]:
        """The ledger's entries whose call may or may not have happened, of cases that nobody has in hand."""
        unknown = {EffectStatus.INTENDED, EffectStatus.IN_DOUBT}
        rows = [row for row in self._effects.values() if row.status in unknown and self._cases[row.case].status is not Status.RUNNING]
        return sorted(rows, key=lambda row: (row.intended_at, row.key))

    async def pause(self, case: int) -> PauseRow | None:
        """The last pause of a case, open or closed, or None."""
        pauses = self._pauses.get(case)
        return pauses[-1] if pauses else None

    async def pause_by_token(self, token: str) -> PauseRow | None:
        """The pause that a token belongs to, or None."""
        return next((pause for pauses in self._pauses.values() for pause in pauses if pause.token == token), None)

    async def messages(self, case: int) -> tuple[MessageRow, ...]:
        """What is pending for a case, in the order of arrival."""
        return tuple(m for m in self._messages if m.case == case and m.status is MessageStatus.PENDING)

    async def held(self, *, after: int = 0, limit: int = 1_000) -> list[MessageRow]:
        """Messages that were to wait until their case had ended, and it has, by number, from `after` on."""
        held = (m for m in self._messages[after:] if m.status is MessageStatus.HELD and m.case is not None)
        return [m for m in held if self._cases[m.case or 0].status in ENDED][:limit]

    async def unmatched(self, *, limit: int = 1_000) -> list[MessageRow]:
        """Messages that no case has taken, in the order of arrival."""
        return [m for m in self._messages if m.status is MessageStatus.UNMATCHED][:limit]

    async def children(self, case: int) -> list[CaseRow]:
        """The cases that this case is the parent of."""
        return [row for _, row in sorted(self._cases.items()) if row.parent == case]

    async def branches(self, case: int) -> tuple[BranchRow, ...]:
        """The branches of the case's parallel step."""
        return tuple(copy(row) for _, row in sorted(self._branches.get(case, {}).items()))

    async def usage_of_case(self, case: int) -> list[UsageRow]:
        """What the answers of a case used, per model."""
        return [row for _, row in sorted(self._case_usage.get(case, {}).items())]

    async def usage_of_days(self, process: str, first: int, last: int, *, tenant: str | None = None) -> list[UsageRow]:
        """What the answers of a process used on these days, per day, tenant and model."""
        rows = sorted(self._day_usage.get(process, {}).items())
        return [row for (day, whose, _), row in rows if first <= day <= last and tenant in {None, whose}]

    async def limits(self) -> dict[str, str]:
        """The state of each limit that was ever used."""
        return dict(sorted(self._limits.items()))

    async def in_line(self, process: str, tenant: str | None, *, most: int) -> int:
        """How many cases of a process, or of one tenant of it, are ready or running."""
        rows = (row for row in self._cases.values() if row.process == process and tenant in {None, row.tenant})
        return min(sum(row.status in {Status.READY, Status.RUNNING} for row in rows), most)

    async def dossier(self, case: int) -> Dossier | None:
        """Everything that is stored of a case, or None."""
        row = self._cases.get(case)
        if row is None:
            return None
        return Dossier(
            case=row,
            writes=self._writes.of_case(case),
            events=tuple(await self.events(case=case, limit=len(self._events))),
            effects=tuple(await self.effects(case)),
            pauses=tuple(self._pauses.get(case, ())),
            messages=tuple(m for m in self._messages if m.case == case),
            branches=await self.branches(case),
        )

    async def blob(self, blob: Blob) -> bytes | None:
        """The content of a blob, or None."""
        return self._blobs.get(blob.sha256)


def _need(row: CaseRow) -> str:
    """What a ready case needs; one whose engine has died may have been at anything."""
    return "" if row.status is Status.RUNNING else row.needs or ""


def _more(row: UsageRow, used: UsageWrite) -> UsageRow:
    return row._replace(
        answers=row.answers + 1,
        input_tokens=row.input_tokens + used.input_tokens,
        output_tokens=row.output_tokens + used.output_tokens,
        cost=row.cost + used.cost,
    )
