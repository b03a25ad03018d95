"""The store's SQL statements and the Python around them: synchronous, on one connection, with no thread and no event loop.

Each method runs inside a transaction that its caller has begun and will commit. `store/sqlite.py` runs the core on a file, in a
writer thread; `store/memory.py` runs it on an in-memory database, in the caller's thread.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from pointsman.definition.durations import DAY_SECONDS
from pointsman.definition.state import Blob
from pointsman.definition.transactions import Database
from pointsman.errors import Conflict, InboxChanged, StoreError, StoreUnwritable, ValueRefused
from pointsman.kernel.codec import message_of
from pointsman.kernel.events import Kind
from pointsman.kernel.limits import LimitChange, LimitChanged, changed, state_of, text_of
from pointsman.kernel.rows import Address, BranchRow, CaseRow, EventWrite, MessageStatus, NewCase, Post, Transition, UsageWrite
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.store import sqlite_keeping as keeping
from pointsman.store.base import Claimed, DefinitionRow, Expired, IntakePaused, Place, Posted, PrivateField, ScheduleRow, erased_key
from pointsman.store.gaps import GapChange, gaps_of, gaps_text
from pointsman.store.journal import CommonEvents, count_of
from pointsman.store.sqlite_author import authors_database
from pointsman.store.sqlite_checkpoints import SqliteCheckpointTables
from pointsman.store.sqlite_line import Line
from pointsman.store.statements import many, room, statements
from pointsman.store.stored_rows import (
    INTAKE,
    LATEST,
    case_row,
    field_rows,
    gaps_name,
    private_name,
    subscriber_name,
    turn_of,
    turn_text,
)

ROWS_MAX = 512  # of one statement: 27 values a row stay far below SQLite's 32,766 parameters
CLOCK_EVENTS = 1_000  # between two times that the clock is saved; opening a file reads the rows of as many in under a millisecond
RECORDS_SECONDS = 365 * DAY_SECONDS  # for which the record of a deletion is kept: somebody may ask what has become of last year's cases
NO_FIELD: tuple[None, None, None, bool] = (None, None, None, False)  # of a transition that writes no field


_Names = tuple[str, ...]


class PostAsked(NamedTuple):
    """A message to deliver, as `MessageStore.post` takes it."""

    post: Post
    start: Transition | None
    released: int | None
    full: bool


class SqliteCore:
    """All writes of a store, on one connection, inside the caller's transactions."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path
        self.sql = statements("sqlite")
        self.line = Line(self.sql)
        self.events = CommonEvents(connection, self.sql)
        self.checkpoints = SqliteCheckpointTables(connection, self.sql)
        self.incarnation = str(self._do("select_meta", ("incarnation",)).fetchone()[0])
        self.highest = self.highest_case()
        self.engine = 0  # the engine whose transaction this is
        self.gone = 0  # counts deletions of content that may have referred to a blob
        self._clock_saved = int(self._do("select_meta", ("clock_entry",)).fetchone()[0])
        # The number of the next event. Numbers that no row got are not used again if `highest_time` would not read them.
        self._next = max(self._behind_last(), self._clock_saved)
        self._any_erased = bool(self._do("any_erased_key", ()).fetchone()[0])

    def _do(self, name: str, values: Sequence[Any] | Mapping[str, Any]) -> sqlite3.Cursor:
        return self.connection.execute(self.sql[name], values)

    def roll_back(self, savepoint: str | None = None) -> None:
        """Roll back to a savepoint, or the whole transaction."""
        self.events.forget()
        self.checkpoints.forget()
        self.connection.execute("ROLLBACK" if savepoint is None else f"ROLLBACK TO {savepoint}")

    def highest_case(self) -> int:
        """Return the highest number of any case, including deleted ones."""
        return int(self._do("highest_case", ()).fetchone()[0])

    def _behind_last(self) -> int:
        row = self._do("last_entry", ()).fetchone()
        return 1 if row is None else int(row[0]) + max(1, count_of(row[1] or ""))

    def reserve(self, count: int) -> range:
        """Return numbers for new cases, above all that were reserved or used."""
        first = self.highest + 1
        self.highest += count
        return range(first, self.highest + 1)

    def clock_high_water(self) -> float:
        """Return the highest time (Unix seconds) ever committed."""
        saved, later = self._do("highest_time", ()).fetchone()
        return max(float(saved), later or 0.0)

    def has_epoch(self, epoch: int) -> bool:
        """Return whether this engine's epoch is the last, that is, no other engine has taken over the file."""
        return self._do("same_epoch", (str(epoch),)).fetchone() is not None

    def raise_epoch(self) -> int:
        """Return a number for a new engine."""
        return int(self._do("raise_epoch", ()).fetchone()[0])

    def recover(self, now: float, time: float | None = None) -> None:
        """Make the running cases of dead engines ready again: of engines with no lease at the store's `time`, or of all if None."""
        self._do("recover_cases", (now, time))

    def begin_lease(self, engine: int, until: float) -> None:
        """Give an engine a lease."""
        self._do("begin_lease", (engine, until))

    def renew_lease(self, until: float, time: float) -> bool:
        """Extend the engine's lease. Returns False if it has expired at the store's `time`."""
        return bool(self._do("renew_lease", (until, self.engine, time)).rowcount)

    def has_lease(self, time: float) -> bool:
        """Return whether the engine has a lease at the store's `time`."""
        return self._do("select_lease", (self.engine, time)).fetchone() is not None

    def end_lease(self, engine: int) -> None:
        """End an engine's lease."""
        self._do("end_lease", (engine,))

    def next_lease_end(self) -> float | None:
        """Return when the first case of another engine can be taken over, or None if no other engine has one."""
        until: float | None = self._do("next_lease_end", (self.engine,)).fetchone()[0]
        return until

    def register(self, definitions: Sequence[DefinitionRow], private: Sequence[PrivateField]) -> None:
        """Store definitions and private fields that are not known yet (S16)."""
        self.connection.executemany(self.sql["insert_definition"], definitions)
        self.connection.executemany(self.sql["insert_private"], [(private_name(one),) for one in private])

    def append(self, case: int, events: Sequence[EventWrite], at: float, usage: Sequence[UsageWrite]) -> None:
        """Append events without changing their case (S14), and count their usage."""
        self._count(case, at, usage)
        if events:
            self._do("append_event", (self.number(len(events)), at, self.events.packed(events), case))

    def release(self, cases: Sequence[int], now: float) -> None:
        """Make running cases of this engine ready again."""
        self.connection.executemany(self.sql["release_case"], [(now, case, self.engine) for case in cases])

    def mark_waiting(self, case: int, fence: int, waiting: bool) -> None:
        """Mark whether all calls of a running case are waiting."""
        self._do("mark_waiting", (int(waiting), case, fence))

    def keep(self, blob: Blob, content: bytes, now: float) -> None:
        """Store a blob, or renew its time if it is stored already."""
        self._do("insert_blob", (blob.sha256, blob.size, now, content))

    def drop_blobs(self, digests: Sequence[str], before: float) -> list[int]:
        """Delete those of these blobs that were last kept before `before`, and return their sizes (S24)."""
        return [size for (size,) in self._do("delete_blobs", (json.dumps(digests), before)).fetchall()]

    def expire(self, process: str, outcome: str | None, before: float, at: float, limit: int, after: Place) -> Expired:
        """Delete expired cases (S22), and old records of such deletions."""
        rows = self._do("expired_cases", (process, outcome, before, *after, limit)).fetchall()
        cases = sorted(case for _, case, needed in rows if not needed)
        if cases:
            event = EventWrite(Kind.EXPIRED, None, 0, json.dumps({"process": process, "cases": cases}))
            self._do("insert_expired", (self.number(), cases[-1], at, self.events.packed([event])))
            keeping.expire(self.connection, self.sql, cases)
            self._do("expire_records", (at - RECORDS_SECONDS, cases[-1], limit))
            self.gone += 1
        return Expired(len(cases), rows[-1][:2] if len(rows) == limit else None)

    def schedule(self, process: str, name: str, now: float) -> ScheduleRow:
        """Return the position of a schedule; a new schedule begins at `now` (S15)."""
        self._do("enter_schedule", (process, name, now, now))
        return ScheduleRow._make(self._do("select_schedule", (process, name)).fetchone())

    def ticked(self, process: str, name: str, tick: float) -> None:
        """Record that this tick of a schedule and all earlier ones are over."""
        self._do("tick_schedule", (tick, process, name))

    def pause_intake(self, paused: IntakePaused | None) -> None:
        """Record who paused the intake, or with None that it is not paused."""
        if paused is None:
            self._do("delete_meta", (INTAKE,))
        else:
            self._do("set_meta", (INTAKE, json.dumps(paused._asdict())))

    def take_turn(self, subscriber: str, begin: str, lives: Callable[[int], bool]) -> str | None:
        """Take the turn of a subscriber, unless another engine that `lives` has it, and return its cursor (S34)."""
        turn = self._turn(subscriber) or (self.engine, begin)
        if turn[0] != self.engine and lives(turn[0]):
            return None
        self._do("set_meta", (subscriber_name(subscriber), turn_text(self.engine, turn[1])))
        return turn[1]

    def advance(self, subscriber: str, cursor: str) -> bool:
        """Store how far a subscriber has read. Returns False if the engine does not have the turn."""
        turn = self._turn(subscriber)
        if turn is None or turn[0] != self.engine:
            return False
        self._do("set_meta", (subscriber_name(subscriber), turn_text(self.engine, cursor)))
        return True

    def change_gaps(self, subscriber: str, change: GapChange) -> None:
        """Store what `change` makes of the gaps of a subscriber."""
        name = gaps_name(subscriber)
        row = self._do("select_meta", (name,)).fetchone()
        if changed := change(() if row is None else gaps_of(subscriber, row[0])):
            self._do("set_meta", (name, gaps_text(changed)))
        else:
            self._do("delete_meta", (name,))

    def _turn(self, subscriber: str) -> tuple[int, str] | None:
        row = self._do("select_meta", (subscriber_name(subscriber),)).fetchone()
        return None if row is None else turn_of(row[0])

    def apply(self, transitions: Sequence[Transition]) -> list[int | Conflict]:
        """Write transitions of different cases. Return the case number of each, or the Conflict that refused it.

        The guard runs first, so that a stale transition writes nothing.
        """
        if self._next >= self._clock_saved + CLOCK_EVENTS:
            self._do("save_clock", (repr(self.clock_high_water()), self._next))
            self._clock_saved = self._next
        moved = self._guard(transitions)
        answers: list[int | Conflict] = []
        fields: list[tuple[Any, ...]] = []
        branches: list[tuple[Any, ...]] = []
        searched: list[Transition] = []
        rare: list[Transition] = []
        begun: list[tuple[int, NewCase]] = []
        for t in transitions:
            if t.case not in moved:
                answers.append(self._refused(t))
                continue
            answers.append(t.case)
            if len(t.fields) > 1:
                fields += [(self.number(), t.case, t.revision + 1, *write) for write in t.fields[1:]]
            if t.branches:
                branches += [(t.case, *branch) for branch in t.branches]
            if t.search:
                searched.append(t)
            if _has_more(t):
                rare.append(t)
            if t.new is not None and t.new.correlation is not None and t.status not in ENDED:
                begun.append((t.case, t.new))
        if fields:
            self._each("insert_journal", fields)
        if branches:
            self._each("upsert_branches", branches)
        if searched:
            self._write_search(searched)
        for t in rare:
            self._write_rest(t)
        if begun:
            self._match_early(begun)
        return answers

    def _guard(self, transitions: Sequence[Transition]) -> set[int]:
        """Write cases and the first row of each journal entry. Return the numbers of those at the expected revision and fence."""
        first = self._next
        rows: dict[str, list[tuple[Any, ...]]] = {}
        for t in transitions:
            if t.new is None or self._erased_start(t.new) is None:
                statement, row = self._row(t)
                rows.setdefault(statement, []).append(row)
        for statement, each in rows.items():
            self._each(statement, each)
        return set(json.loads(self._do("moved", (first,)).fetchone()[0]))

    def _row(self, t: Transition) -> tuple[str, tuple[Any, ...]]:
        """Return the statement for a transition, which writes its case and the first row of its journal entry, and the values."""
        engine = self.engine if t.status is Status.RUNNING else None
        number, events = self.number(len(t.events)), self.events.packed(t.events)
        field, text, writer, appends = t.fields[0] if t.fields else NO_FIELD
        if t.new is not None:
            process, version, key, tenant, priority, correlation, parent = t.new
            begins = (t.revision + 1, t.fence + t.claims, t.status.value, t.attempts, t.steps, t.step, t.rule, t.at)
            entry = (engine, number, events, field, text, writer, int(appends))
            begun = (t.case, process, version, tenant, priority, correlation, *begins, *entry)
            rest = (key, parent, t.wake_at, t.reason, t.outcome, t.needs)
            return ("begin", begun) if rest.count(None) == len(rest) else ("start", (*begun, *rest))
        stands = (t.revision, t.fence, t.inbox, t.attempts, t.steps, t.step, t.rule, t.at)
        row = (t.case, *stands, number, events, field, text, writer, int(appends))
        if _goes_on(t):
            return "go_on", (*row, engine)
        moved = (*row, t.status.value, int(t.claims), len(t.takes), t.outcome, t.interruptions)
        more = (engine, t.wake_at, t.reason, t.needs, t.migrated)
        return ("finish", moved) if more.count(None) == len(more) else ("move", (*moved, *more))

    def number(self, events: int = 1) -> int:
        """Reserve the numbers of these events, or of one row without events. Return the first."""
        number = self._next
        self._next += max(events, 1)
        return number

    def _each(self, name: str, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        """Run a statement for many rows at once. Return what it finds."""
        found: list[tuple[Any, ...]] = []
        for begun in range(0, len(rows), ROWS_MAX):
            piece = rows[begun : begun + ROWS_MAX]
            size, columns = room(len(piece)), len(piece[0])
            values = [*chain.from_iterable(piece), *[0] * ((size - len(piece)) * columns)]
            found += self.connection.execute(many(self.sql[name], size, columns), values).fetchall()
        return found

    def _refused(self, t: Transition) -> int | Conflict:
        """The case that an earlier start with the same key created, or the Conflict of another transition."""
        if t.new is not None:
            erased = self._erased_start(t.new)
            found = erased or self._do("case_number_by_key", (t.new.process, t.new.tenant, t.new.key)).fetchone()[0]
            return int(found)
        row = self._do("select_case", (t.case,)).fetchone()
        if row is not None and (row[5], row[6]) == (t.revision, t.fence):
            return InboxChanged(f"case {t.case} has received a message")
        return Conflict(f"case {t.case} is no longer at revision {t.revision}")

    def _write_rest(self, t: Transition) -> None:
        """Write the parts that few transitions have: a settlement, an intent, a pause, the end of branches."""
        do = self._do
        if t.settlement is not None:
            settled = t.settlement
            do("settle_effect", (settled.status, settled.outcome, settled.error, not settled.counts, settled.key))
        if t.intent is not None:
            key, effect, arguments, deadline, again = t.intent
            if not again:
                do("insert_intent", (key, t.case, effect, arguments, t.at, deadline))
            elif not do("renew_intent", (deadline, key, arguments)).rowcount:
                raise Conflict(f"effect {effect!r} is already settled, or its arguments have changed")
        if t.leaves_pause:
            do("close_pause", ("void" if t.answered_by is None else "answered", t.answered_by, t.at, t.case))
        if t.pause is not None:
            do("insert_pause", (t.case, t.revision + 1, *t.pause, t.at))
        if t.climbs is not None:
            do("climb_pause", (*t.climbs, t.case))
        if t.ends_branches:
            do("delete_branches", (t.case,))
        if t.erases:
            keeping.erase(self.connection, self.sql, self.incarnation, t.case)
            self._any_erased = True
            self.gone += 1
        for message, status in t.takes:
            do("take_message", (status, message))
        if t.usage:
            self._count(t.case, t.at, t.usage)
        for post in t.posts:
            self._deliver_to(post, post.to.case)

    def _match_early(self, begun: Sequence[tuple[int, NewCase]]) -> None:
        """Give new cases the messages that came before them."""
        if not self._do("any_unmatched", ()).fetchone()[0]:
            return
        for case, new in begun:
            early = self._do("match_early", (case, new.process, new.tenant, new.correlation)).rowcount
            if early:
                self._do("set_inbox", (early, case))

    def _write_search(self, transitions: Sequence[Transition]) -> None:
        """Write what cases are found by: the rows of all cases in a few statements."""
        written = [(t, write) for t in transitions for write in t.search]
        outdated = [(t.case, write.field) for t, write in written if t.new is None and not write.adds]
        self.connection.executemany(self.sql["delete_search"], outdated)
        self.connection.executemany(self.sql["delete_words"], outdated)
        self._each("insert_search", [(t.case, write.field, value) for t, write in written for value in write.values])
        self._each("insert_words", [(t.case, write.field, word) for t, write in written for word in write.words])

    def _count(self, case: int, at: float, usage: Sequence[UsageWrite]) -> None:
        for model, *used in usage:
            self._do("add_case_usage", (model, *used, case))
            self._do("add_day_usage", (int(at // DAY_SECONDS), model, *used, case))

    def transact(self, work: Callable[[Database], Transition]) -> Any:
        """Run `work` and write its transition. Return the case number, or the exception for which both were rolled back."""
        self.connection.execute("SAVEPOINT author")
        try:
            with authors_database(self.connection) as db:
                transition = work(db)
            self._check_standing()
            result: Any = self.apply([transition])[0]
        except Exception as error:
            if isinstance(error, StoreError) or is_of_the_disk(error):
                raise  # SQLite may have rolled the whole batch back
            result = error
        if isinstance(result, Exception):
            self.roll_back("author")
        self.connection.execute("RELEASE author")
        return result

    def _check_standing(self) -> None:
        """Raise if a disk error made SQLite roll the whole batch back and the author's code swallowed the exception."""
        if not self.connection.in_transaction:
            raise StoreUnwritable(f"the disk that holds {self.path} failed in a transaction; check the disk and start again.")

    def post(self, post: Post, start: Transition | None, released: int | None, full: bool) -> Posted | None:
        """Deliver a message (S10). It is one transaction, so no case starts or ends in between."""
        do, to = self._do, post.to
        if released is not None and do("held_message", (released,)).fetchone() is None:
            return Posted(None, MessageStatus.PASSED, duplicate=True)
        known = None if post.key is None else do("message_by_key", (to.process, to.tenant, post.name, post.key)).fetchone()
        if known is not None and released is None:
            return Posted(known[5], MessageStatus(known[6]), duplicate=True)
        if post.key is not None and (erased := self._erased(to.process, to.tenant, post.name, post.key)) is not None:
            return Posted(erased, MessageStatus.TAKEN, duplicate=True)
        found = None if post.while_open == "new_case" else to.case or self._open_case(to)
        if found is not None and released is None:
            return self._deliver_to(post, found)
        status = MessageStatus.HELD if found is not None else MessageStatus.UNMATCHED
        if found is None and start is not None:
            if full:
                return None
            number = self.apply([start])[0]
            if isinstance(number, Exception):
                raise number
            found, status = number, MessageStatus.TAKEN
        if released is not None:
            do("release_message", (found, status, released))
        else:
            self._insert_message(post, found, status)
        return Posted(found, status, started=status is MessageStatus.TAKEN)

    def post_together(self, asked: Sequence[PostAsked]) -> dict[int, Posted | None]:
        """Deliver those of these messages that only start a case, in a few statements (S10).

        Return the answer to each, by its place. The others need statements of their own.
        """
        keys: dict[_Names, int] = {}
        correlations: dict[_Names, int] = {}
        for place, (post, start, released, _) in enumerate(asked):
            process, tenant, correlation, _ = to = post.to
            starts = start is not None and released is None and to.case is None and post.while_open != "new_case"
            if not starts or post.key is None or correlation is None or self._erased(process, tenant, post.name, post.key) is not None:
                continue
            named, correlated = (process, tenant, post.name, post.key), (process, tenant, correlation)
            if named not in keys and correlated not in correlations:
                keys[named] = correlations[correlated] = place
        if len(keys) < 2:
            return {}
        others = {keys[known] for known in self._each("known_messages", [*keys])}
        others |= {correlations[used] for used in self._each("correlations_in_use", [*correlations])}
        return self._start_together({place: asked[place] for place in keys.values() if place not in others})

    def _start_together(self, asked: Mapping[int, PostAsked]) -> dict[int, Posted | None]:
        answers: dict[int, Posted | None] = dict.fromkeys(asked)
        starts = {place: (one.post, one.start) for place, one in asked.items() if one.start is not None and not one.full}
        rows = []
        for (place, (post, _)), number in zip(starts.items(), self.apply([start for _, start in starts.values()]), strict=True):
            if isinstance(number, Exception):
                raise number
            rows.append(_message(post, number, MessageStatus.TAKEN))
            answers[place] = Posted(number, MessageStatus.TAKEN, started=True)
        self._each("insert_messages", rows)
        return answers

    def _open_case(self, to: Address) -> int | None:
        row = self._do("open_case_by_correlation", (to.process, to.tenant, to.correlation)).fetchone()
        return None if row is None else int(row[0])

    def _deliver_to(self, post: Post, case: int | None) -> Posted:
        """Put a message into a case's inbox and wake the case, or hold it until the case has ended."""
        status = MessageStatus.HELD if post.while_open == "hold" else MessageStatus.PENDING
        message = self._insert_message(post, case, status)
        if message is None:
            return Posted(case, status, duplicate=True)
        if status is MessageStatus.PENDING:
            wake = {"case": case, "urgent": post.while_open == "supersede", "at": post.at}
            if self._do("wake_for_message", wake).fetchone() is None:
                status = MessageStatus.PASSED  # the case has ended
                self._do("take_message", (status, message))
        return Posted(case, status)

    def _insert_message(self, post: Post, case: int | None, status: MessageStatus) -> int | None:
        row = self._do("insert_message", _message(post, case, status)).fetchone()
        return None if row is None else int(row[0])

    def _erased_start(self, new: NewCase) -> int | None:
        """The erased case that an earlier start with the same key created, or None."""
        return None if new.key is None else self._erased(new.process, new.tenant, "", new.key)

    def _erased(self, process: str, tenant: str, name: str, key: str) -> int | None:
        if not self._any_erased:
            return None
        digest = erased_key(self.incarnation, process, name, key)
        row = self._do("select_erased_key", (process, tenant, name, digest)).fetchone()
        return None if row is None else int(row[0])

    def claim(self, processes: Sequence[str], now: float, limit: int, room: Mapping[str, int], known: Mapping[int, int]) -> list[Claimed]:
        """Claim due cases (S5, S18)."""
        chosen = self.line.next(self.connection, processes, now, limit, room)
        if not chosen:
            return []
        rows = {row[0]: case_row(row) for row in self._do("claim_cases", (self.engine, json.dumps(chosen))).fetchall()}

        def claimed(row: CaseRow) -> Claimed:
            branches = tuple(BranchRow(*branch) for branch in self._do("select_branches", (row.id,)).fetchall())
            if known.get(row.id) == row.revision:
                return Claimed(row, None, branches)
            state = {"case": row.id, "revision": LATEST}
            return Claimed(row, field_rows(self._do("select_fields", state).fetchall()), branches)

        return [claimed(rows[case]) for case in chosen]

    def change_limit(self, change: LimitChange) -> LimitChanged:
        """Take or return a permit (S17)."""
        row = self._do("select_limit", (change.limit.name,)).fetchone()
        before = state_of(None if row is None else row[0])
        answer = changed(before, change)
        if answer.state != before:
            self._do("upsert_limit", (change.limit.name, text_of(answer.state)))
        return answer


def _message(post: Post, case: int | None, status: MessageStatus) -> tuple[Any, ...]:
    """Return the row of a message, in the order of the statements that insert one."""
    to = post.to
    return to.process, post.name, post.key, to.correlation, case, status.value, post.body, post.at, to.tenant


def _goes_on(t: Transition) -> bool:
    """Return whether a running case stays running, and does not wait."""
    counted = t.claims or t.takes or t.interruptions
    waits = t.wake_at is not None or t.reason is not None or t.needs is not None
    return t.status is Status.RUNNING and not (counted or waits or t.outcome is not None or t.migrated is not None)


def _has_more(t: Transition) -> bool:
    """Return whether a transition has any of the rare parts that `_write_rest` writes."""
    person = t.leaves_pause or t.pause is not None or t.climbs is not None
    effect = t.settlement is not None or t.intent is not None
    return bool(person or effect or t.ends_branches or t.erases or t.takes or t.usage or t.posts)


def concerns_the_file(error: Exception) -> bool:
    """Return whether the error concerns the whole file, and not one value or one job."""
    of_a_value = (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError)
    return isinstance(error, StoreError) or (isinstance(error, sqlite3.Error) and not isinstance(error, of_a_value))


OF_A_VALUE = frozenset({"SQLITE_CONSTRAINT_NOTNULL", "SQLITE_CONSTRAINT_CHECK", "SQLITE_CONSTRAINT_DATATYPE"})
"""Constraints that fail because a value does not fit its column, not because of another commit."""


def is_of_the_disk(error: Exception) -> bool:
    """Return whether the file could not be read or written."""
    failures = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_BUSY")
    return isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorname", "") or "").startswith(failures)


def refusal(error: Exception) -> Exception:
    """Return the exception for the caller of a refused job."""
    if isinstance(error, Conflict):
        return error
    if isinstance(error, sqlite3.IntegrityError) and error.sqlite_errorname not in OF_A_VALUE:
        return Conflict(str(error))
    return ValueRefused(f"it cannot be stored: {message_of(error)}")
