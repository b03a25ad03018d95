"""The embedded store: one SQLite file, one engine, one thread that writes.

All transitions that are ready when the writer comes round share one commit, so that one flush of the disk pays for all of
them, and a few statements write them all. A stale one is found by its guard before it has written anything; if another one
is refused later, the batch is taken back and each runs in a savepoint of its own. Answers are given after the flush.
The one writer is also why the file needs no retries on a busy database, and why SQLite's WAL-reset bug (3.7.0 to 3.51.2,
https://sqlite.org/wal.html#walresetbug) cannot strike: it takes two connections that write or checkpoint.
"""

import asyncio
import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pointsman.definition.durations import DAY_SECONDS
from pointsman.definition.state import Blob
from pointsman.definition.transactions import Database
from pointsman.errors import Conflict, EngineStopped, InboxChanged, StoreError, StoreLocked, StoreUnwritable, ValueRefused
from pointsman.kernel.codec import message_of
from pointsman.kernel.rows import BranchRow, CaseRow, EventWrite, MessageStatus, Post, Transition, UsageWrite
from pointsman.kernel.snapshot import ENDED
from pointsman.store import sqlite_keeping as keeping
from pointsman.store.base import (
    ANY_ROOM,
    NONE_KNOWN,
    Claimed,
    Collected,
    DefinitionRow,
    Failpoints,
    Posted,
    ScheduleRow,
    erased_key,
    no_failpoints,
)
from pointsman.store.sqlite_author import authors_database
from pointsman.store.sqlite_file import FileLock, begin, explain, explained, open_writer
from pointsman.store.sqlite_line import Line
from pointsman.store.sqlite_reader import LATEST, SqliteReader, case_row, field_rows
from pointsman.store.statements import many, statements

BATCH_MAX = 512  # transitions a commit; beyond it the wait of the first outgrows what the last one saves
BLOB_BYTES_MAX = 4_000_000  # of blobs that go in one commit: every page of them is written once more, as zeros
ROWS_MAX = 512  # of one statement: 16 values a row stay far below SQLite's 32,766 parameters

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]


class _Job(NamedTuple):
    """Work for the writer: a transition, something else to do in a transaction with others, or `alone` outside of any."""

    work: Work
    answer: asyncio.Future[Any]
    transition: Transition | None
    alone: bool = False


class SqliteStore(SqliteReader):
    """The whole store contract on one file. Make it with `open_sqlite`, inside a running event loop."""

    lease_seconds: float | None = None  # while one engine has the file, nobody else has

    def __init__(
        self, path: Path, lock: FileLock, writer: sqlite3.Connection, epoch: str, failpoints: Failpoints, left_running: set[int]
    ) -> None:
        super().__init__(path)
        self._lock = lock
        self._writer = writer
        self._epoch = epoch
        self._points = failpoints
        self._line = Line(self._sql)
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._highest: int = writer.execute(self._sql["highest_case"]).fetchone()[0]
        self.clock_high_water = float(self._all("select_meta", ("clock",))[0][0])
        self.left_running = left_running
        self._any_erased = bool(writer.execute(self._sql["any_erased_key"]).fetchone()[0])
        self._gone = 0  # how often something went that may have referred to a blob
        self._closing = False  # wait no longer for other programs
        self._closed = False
        self._failed: StoreUnwritable | None = None  # a commit failed, and nothing more is written
        self._thread = threading.Thread(target=self._write, name="pointsman-writer", daemon=True)
        self._thread.start()

    def reserve(self) -> int:
        """A number for a new case."""
        self._highest += 1
        return self._highest

    async def commit(self, transition: Transition) -> int:
        """Commit a transition; see the contract."""
        number: int = await self._hand_in(_nothing, transition)
        return number

    async def transact(self, work: Callable[[Database], Transition]) -> int:
        """Commit an author's rows with a transition; see the contract."""
        number: int = await self._hand_in(lambda connection: self._transact(connection, work))
        return number

    async def post(
        self, post: Post, start: Transition | None = None, *, released: int | None = None, full: bool = False
    ) -> Posted | None:  # fmt: skip
        """Deliver a message; see the contract."""
        posted: Posted | None = await self._hand_in(lambda connection: self._post(connection, post, start, released, full))
        return posted

    async def register(self, definitions: Sequence[DefinitionRow]) -> None:
        """Note definitions that are not known yet; see the contract."""
        await self._hand_in(lambda connection: connection.executemany(self._sql["insert_definition"], definitions).rowcount)

    async def append(self, case: int, events: Sequence[EventWrite], *, at: float, usage: Sequence[UsageWrite] = ()) -> None:
        """Append events that change nothing of their case; see the contract."""
        rows = [(kind, step, attempt, at, facts, case) for kind, step, attempt, facts in events]

        def work(connection: sqlite3.Connection) -> int:
            self._count(connection, case, at, usage)
            return connection.executemany(self._sql["append_event"], rows).rowcount

        await self._hand_in(work)

    async def claim(
        self, processes: Sequence[str], *, now: float, limit: int, room: Mapping[str, int] = ANY_ROOM, known: Mapping[int, int] = NONE_KNOWN
    ) -> list[Claimed]:  # fmt: skip
        """Claim due cases; see the contract."""
        claimed: list[Claimed] = await self._hand_in(lambda connection: self._claim(connection, processes, now, limit, room, known))
        return claimed

    async def next_wake(self, processes: Sequence[str], *, closed: Collection[str] = ()) -> float | None:
        """When the next ready case is due."""
        with explained(self.path):
            return self._line.next_wake(self._connection, processes, closed)

    async def change_limit(self, name: str, change: Callable[[str | None], tuple[str, T]]) -> T:
        """Replace the state of a limit; see the contract."""
        answer: T = await self._hand_in(lambda connection: self._change_limit(connection, name, change))
        return answer

    async def release(self, cases: Sequence[int], *, now: float) -> None:
        """Give running cases back unharmed."""
        await self._hand_in(lambda connection: connection.executemany(self._sql["release_case"], [(now, case) for case in cases]).rowcount)

    async def count_attempt(self, case: int, fence: int, by: int) -> None:
        """Add to the attempts of a running case; see the contract."""
        await self._hand_in(lambda connection: connection.execute(self._sql["count_attempt"], (by, case, fence)).rowcount)

    async def renew(self) -> float:
        """No lease, so nothing to renew; see the contract."""
        raise StoreError(f"{self.path} belongs to one engine and has no leases.")

    async def keep(self, content: bytes, *, now: float) -> Blob:
        """Store a blob by its content."""
        blob = Blob.of(content)
        await self._hand_in(
            lambda connection: connection.execute(self._sql["insert_blob"], (blob.sha256, blob.size, now, content)).rowcount
        )
        return blob

    async def outcomes(self, process: str) -> list[str]:
        """The outcomes of the cases of a process that are done, each once."""
        with explained(self.path):
            return keeping.outcomes(self._connection, self._sql, process)

    async def expire(self, process: str, outcome: str | None, *, before: float, at: float, limit: int) -> int:
        """Delete cases that were kept long enough; see the contract."""
        gone: int = await self._hand_in(lambda connection: self._expire(connection, process, outcome, before, at, limit))
        return gone

    async def collect_blobs(self, *, before: float) -> Collected:
        """Delete blobs that nothing refers to; see the contract.

        The search goes page by page while the engine works. Whoever keeps a blob meanwhile renews its time, so that it
        stays. A reference that is copied to where the search has been is seen at its origin, unless that has gone
        meanwhile: then the search counts for nothing.
        """
        gone = self._gone
        found = await asyncio.to_thread(keeping.unreferenced, self.path, self._sql, before, lambda: self._closed)
        collected = Collected(0, 0)
        if gone != self._gone:
            return collected
        while found:
            digests, size = [], 0
            while found and size < BLOB_BYTES_MAX:
                digest, more = found.pop()
                digests.append(digest)
                size += more
            sizes: list[int] = await self._hand_in(partial(keeping.drop_blobs, sql=self._sql, digests=digests, before=before))
            collected = Collected(collected.blobs + len(sizes), collected.size + sum(sizes))
        return collected

    async def compact(self) -> int:
        """Give unused space back; see the contract."""
        given_back: int = await self._hand_in(keeping.compact, alone=True)
        return given_back

    async def schedule(self, process: str, name: str, *, now: float) -> ScheduleRow:
        """Where a schedule stands; see the contract."""
        row: tuple[Any, ...] = await self._hand_in(lambda connection: self._enter_schedule(connection, process, name, now))
        return ScheduleRow._make(row)

    async def ticked(self, process: str, name: str, tick: float) -> None:
        """Note that this tick of a schedule is over; see the contract."""
        await self._hand_in(lambda connection: connection.execute(self._sql["tick_schedule"], (tick, process, name)).rowcount)

    def closing(self) -> None:
        """Wait no longer for other programs that hold the file; see the contract."""
        self._closing = True

    async def close(self) -> None:
        """Finish what was handed in, and let go of the file."""
        if self._closed:
            return
        self.closing()
        self._closed = True
        self.shut()  # the last connection to close moves the log into the file, and only the writer can
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _hand_in(self, work: Work, transition: Transition | None = None, *, alone: bool = False) -> asyncio.Future[Any]:
        if self._closed:
            raise EngineStopped(f"the engine on {self.path} is closed; open it again.")
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.put(_Job(work, answer, transition, alone))
        return answer

    # What follows runs in the writer's thread.

    def _write(self) -> None:
        """Write until the end is handed in. The file is let go of here, also when nobody waits for it any more."""
        try:
            self._write_batches()
        finally:
            self._writer.close()
            self._lock.release()

    def _write_batches(self) -> None:
        while (job := self._jobs.get()) is not None:
            batch = [job]
            last = False
            while len(batch) < BATCH_MAX and not self._jobs.empty():
                following = self._jobs.get()
                if following is None:
                    last = True
                    break
                batch.append(following)
            answers = self._commit([job for job in batch if not job.alone]) + [self._run_alone(job) for job in batch if job.alone]
            self._loop.call_soon_threadsafe(_deliver, answers)
            if last:
                return

    def _run_alone(self, job: _Job) -> tuple[_Job, Any]:
        if self._failed is not None:
            return job, self._failed
        self._points("store.alone")
        try:
            return job, job.work(self._writer)
        except sqlite3.Error as error:
            return job, explain(self.path, error)

    def _commit(self, batch: Sequence[_Job]) -> list[tuple[_Job, Any]]:
        """Run a batch in one transaction. The answers are results or exceptions, to be given after the flush."""
        if self._failed is not None:
            return [(job, self._failed) for job in batch]
        if not batch:
            return []
        try:
            try:
                return self._commit_whole(batch, self._run_together)
            except Exception as refused:
                if _concerns_the_file(refused):
                    raise
                # One of them was refused after it had begun to write. Which one shows when each runs by itself.
                self._writer.execute("ROLLBACK")
                return self._commit_whole(batch, self._run_apart)
        except Exception as error:
            # Nothing was handed to the disk, so nothing of it stands, wherever the cases may have been moved by others.
            reason = explain(self.path, error) if isinstance(error, sqlite3.Error) else error
            with suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            return [(job, reason) for job in batch]

    def _commit_whole(self, batch: Sequence[_Job], run: Callable[[Sequence[_Job]], list[tuple[_Job, Any]]]) -> list[tuple[_Job, Any]]:
        connection = self._writer
        self._points("store.begin")
        begin(connection, self.path, closing=lambda: self._closing)
        now = max((job.transition.at for job in batch if job.transition), default=0.0)
        if not connection.execute(self._sql["raise_clock"], (now, self._epoch)).rowcount:
            raise StoreLocked(f"another engine has taken over {self.path}; this one has stopped writing.")
        answers = run(batch)
        self._points("store.commit")
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            # It may have reached the disk all the same, and a flush that failed must not be tried again on the same connection:
            # the next one would succeed without having written anything. What was kept shows when the file is opened again.
            self._failed = StoreUnwritable(
                f"{explain(self.path, error)} Whether the last commit was kept shows when the engine is opened again."
            )
            return [(job, self._failed) for job in batch]
        self._points("store.committed")
        return answers

    def _run_together(self, batch: Sequence[_Job]) -> list[tuple[_Job, Any]]:
        """The usual way: all transitions in a few statements, everything else one by one."""
        answers: list[tuple[_Job, Any]] = []
        remaining = [job for job in batch if job.transition is not None]
        while remaining:
            # Two transitions of one case cannot be in one statement: the first to come is tried, then the next.
            first: dict[int, _Job] = {}
            for job in remaining:
                first.setdefault(_transition(job).case, job)
            answers += zip(first.values(), self._apply(self._writer, [_transition(job) for job in first.values()]), strict=True)
            remaining = [job for job in remaining if first[_transition(job).case] is not job]
        # Behind the transitions: a release that came after a commit must find what the commit wrote.
        return answers + [(job, job.work(self._writer)) for job in batch if job.transition is None]

    def _run_apart(self, batch: Sequence[_Job]) -> list[tuple[_Job, Any]]:
        """Each job within its own savepoint, so that a refused one takes nothing with it."""
        answers: list[tuple[_Job, Any]] = []
        for job in batch:
            self._writer.execute("SAVEPOINT job")
            try:
                result = job.work(self._writer) if job.transition is None else self._apply(self._writer, [job.transition])[0]
            except Exception as error:
                if _concerns_the_file(error):
                    raise
                self._writer.execute("ROLLBACK TO job")
                result = _refusal(error)
            self._writer.execute("RELEASE job")
            answers.append((job, result))
        return answers

    def _apply(self, connection: sqlite3.Connection, transitions: Sequence[Transition]) -> list[int | Conflict]:
        """Write transitions of different cases; the guard comes first, so that a stale one has written nothing."""
        moved = self._guard(connection, transitions)
        answers = [self._answer(connection, t, moved) for t in transitions]
        winners = [t for t in transitions if t.case in moved]
        fields = [(t.case, t.revision + 1, *write) for t in winners for write in t.fields]
        events = [(t.case, t.revision + 1, kind, step, attempt, t.at, facts) for t in winners for kind, step, attempt, facts in t.events]
        self._each(connection, "insert_fields", fields)
        self._each(connection, "insert_events", events)
        branches = [(t.case, *branch) for t in winners for branch in t.branches]
        self._each(connection, "upsert_branches", branches)
        for t in winners:
            self._apply_rest(connection, t)
        return answers

    def _guard(self, connection: sqlite3.Connection, transitions: Sequence[Transition]) -> set[int]:
        """Move the cases' narrow rows; the numbers of those that were where they were expected."""
        started: list[tuple[Any, ...]] = []
        updated: list[tuple[Any, ...]] = []
        for t in transitions:
            if self._erased_start(connection, t) is not None:
                continue
            revision, fence = t.revision + 1, t.fence + t.claims
            stands = (t.wake_at, t.attempts, t.steps, t.step, t.rule, t.reason, t.outcome)
            if t.new is not None:
                process, version, key, *kin = t.new
                started.append((t.case, process, version, key, t.status, revision, fence, *stands, t.at, t.at, *kin, 0, t.needs))
            else:
                inbox = (t.inbox, None if t.inbox is None else t.inbox - len(t.takes))
                updated.append(
                    (t.case, t.revision, t.fence, inbox[0], t.status, revision, fence, inbox[1], *stands, t.needs, t.migrated, t.at)
                )
        return {
            row[0] for name, rows in (("insert_cases", started), ("update_cases", updated)) for row in self._each(connection, name, rows)
        }

    def _each(self, connection: sqlite3.Connection, name: str, rows: Sequence[Sequence[Any]]) -> list[Any]:
        """Run a statement for many rows at once."""
        answers: list[Any] = []
        for begun in range(0, len(rows), ROWS_MAX):
            piece = rows[begun : begun + ROWS_MAX]
            size = 1 << (len(piece) - 1).bit_length()
            columns = len(piece[0])
            values = [*chain.from_iterable(piece), *[None] * ((size - len(piece)) * columns)]
            answers += connection.execute(many(self._sql[name], size, columns), values).fetchall()
        return answers

    def _answer(self, connection: sqlite3.Connection, t: Transition, moved: set[int]) -> int | Conflict:
        if t.case in moved:
            return t.case
        if (erased := self._erased_start(connection, t)) is not None:
            return erased
        if t.new is not None:
            return int(connection.execute(self._sql["case_number_by_key"], (t.new.process, t.new.tenant, t.new.key)).fetchone()[0])
        row = connection.execute(self._sql["select_case"], (t.case,)).fetchone()
        if row is not None and (row[5], row[6]) == (t.revision, t.fence):
            return InboxChanged(f"a message has come to case {t.case}")
        return Conflict(f"case {t.case} is no longer at revision {t.revision}")

    def _apply_rest(self, connection: sqlite3.Connection, t: Transition) -> None:
        """What few transitions have: a settlement, an intent, a pause, the end of branches."""
        execute, sql = connection.execute, self._sql
        if t.settlement is not None:
            settled = t.settlement
            execute(sql["settle_effect"], (settled.status, settled.outcome, settled.error, not settled.counts, settled.key))
        if t.intent is not None:
            key, effect, arguments, deadline, again = t.intent
            if not again:
                execute(sql["insert_intent"], (key, t.case, effect, arguments, t.at, deadline))
            elif not execute(sql["renew_intent"], (deadline, key, arguments)).rowcount:
                raise Conflict(f"effect {effect!r} is settled already, or its arguments have changed")
        if t.leaves_pause:
            execute(sql["close_pause"], ("void" if t.answered_by is None else "answered", t.answered_by, t.at, t.case))
        if t.pause is not None:
            execute(sql["insert_pause"], (t.case, t.revision + 1, *t.pause, t.at))
        if t.climbs is not None:
            execute(sql["climb_pause"], (*t.climbs, t.case))
        if t.ends_branches:
            execute(sql["delete_branches"], (t.case,))
        if t.erases:
            keeping.erase(connection, sql, self.incarnation, t.case)
            self._any_erased = True
            self._gone += 1
        for message, status in t.takes:
            execute(sql["take_message"], (status, message))
        self._count(connection, t.case, t.at, t.usage)
        for post in t.posts:
            self._deliver_to(connection, post, post.case)
        if t.new is not None and t.new.correlation is not None and t.status not in ENDED:
            early = execute(sql["match_early"], (t.case, t.new.process, t.new.tenant, t.new.correlation)).rowcount
            if early:
                execute(sql["set_inbox"], (early, t.case))

    def _count(self, connection: sqlite3.Connection, case: int, at: float, usage: Sequence[UsageWrite]) -> None:
        for model, *used in usage:
            connection.execute(self._sql["add_case_usage"], (model, *used, case))
            connection.execute(self._sql["add_day_usage"], (int(at // DAY_SECONDS), model, *used, case))

    def _transact(self, connection: sqlite3.Connection, work: Callable[[Database], Transition]) -> Any:
        """The number of the case, or the exception that the rows and the transition were taken back for."""
        connection.execute("SAVEPOINT author")
        try:
            with authors_database(connection) as db:
                transition = work(db)
            self._check_standing(connection)
            result: Any = self._apply(connection, [transition])[0]
        except Exception as error:
            if isinstance(error, StoreError) or _is_of_the_disk(error):
                raise  # SQLite may have taken the whole batch back
            result = error
        if isinstance(result, Exception):
            connection.execute("ROLLBACK TO author")
        connection.execute("RELEASE author")
        return result

    def _check_standing(self, connection: sqlite3.Connection) -> None:
        """Raise where an error of the disk has made SQLite take the whole batch back, and the author's code passed over it."""
        if not connection.in_transaction:
            raise StoreUnwritable(f"the disk that holds {self.path} failed in a transaction; check it and start again.")

    def _post(
        self, connection: sqlite3.Connection, post: Post, start: Transition | None, released: int | None, full: bool
    ) -> Posted | None:
        """Deliver a message; everything in it is one transaction, so no case can start or end in between."""
        execute, sql = connection.execute, self._sql
        if released is not None and execute(sql["held_message"], (released,)).fetchone() is None:
            return Posted(None, MessageStatus.PASSED, duplicate=True)
        known = None if post.key is None else execute(sql["message_by_key"], (post.process, post.tenant, post.name, post.key)).fetchone()
        if known is not None and released is None:
            return Posted(known[5], MessageStatus(known[6]), duplicate=True)
        if post.key is not None and (erased := self._erased(connection, post.process, post.tenant, post.name, post.key)) is not None:
            return Posted(erased, MessageStatus.TAKEN, duplicate=True)
        found = None if post.apart else post.case or self._open_case(connection, post)
        if found is not None and released is None:
            return self._deliver_to(connection, post, found)
        status = MessageStatus.HELD if found is not None else MessageStatus.UNMATCHED
        if found is None and start is not None:
            if full:
                return None
            number = self._apply(connection, [start])[0]
            if isinstance(number, Exception):
                raise number
            found, status = number, MessageStatus.TAKEN
        if released is not None:
            execute(sql["release_message"], (found, status, released))
        else:
            self._insert_message(connection, post, found, status)
        return Posted(found, status, started=status is MessageStatus.TAKEN)

    def _open_case(self, connection: sqlite3.Connection, post: Post) -> int | None:
        row = connection.execute(self._sql["open_case_by_correlation"], (post.process, post.tenant, post.correlation)).fetchone()
        return None if row is None else int(row[0])

    def _deliver_to(self, connection: sqlite3.Connection, post: Post, case: int | None) -> Posted:
        """Put a message into a case's inbox and wake the case, or hold it until the case has ended."""
        status = MessageStatus.HELD if post.holds else MessageStatus.PENDING
        message = self._insert_message(connection, post, case, status)
        if message is None:
            return Posted(case, status, duplicate=True)
        if not post.holds:
            knock = {"case": case, "urgent": post.urgent, "at": post.at}
            if connection.execute(self._sql["knock"], knock).fetchone() is None:
                status = MessageStatus.PASSED  # the case has ended
                connection.execute(self._sql["take_message"], (status, message))
        return Posted(case, status)

    def _insert_message(self, connection: sqlite3.Connection, post: Post, case: int | None, status: MessageStatus) -> int | None:
        values = (post.process, post.name, post.key, post.correlation, case, status, post.body, post.at, post.tenant)
        row = connection.execute(self._sql["insert_message"], values).fetchone()
        return None if row is None else int(row[0])

    def _erased_start(self, connection: sqlite3.Connection, t: Transition) -> int | None:
        """The case that this start's key made, where that key was erased."""
        if t.new is None or t.new.key is None:
            return None
        return self._erased(connection, t.new.process, t.new.tenant, "", t.new.key)

    def _erased(self, connection: sqlite3.Connection, process: str, tenant: str, name: str, key: str) -> int | None:
        if not self._any_erased:
            return None
        digest = erased_key(self.incarnation, process, name, key)
        row = connection.execute(self._sql["select_erased_key"], (process, tenant, name, digest)).fetchone()
        return None if row is None else int(row[0])

    def _expire(self, connection: sqlite3.Connection, process: str, outcome: str | None, before: float, at: float, limit: int) -> int:
        gone = keeping.expire(connection, self._sql, process, outcome, before, at, limit)
        self._gone += bool(gone)
        return gone

    def _enter_schedule(self, connection: sqlite3.Connection, process: str, name: str, now: float) -> Any:
        connection.execute(self._sql["enter_schedule"], (process, name, now, now))
        return connection.execute(self._sql["select_schedule"], (process, name)).fetchone()

    def _claim(
        self, connection: sqlite3.Connection, processes: Sequence[str], now: float, limit: int, room: Mapping[str, int],
        known: Mapping[int, int],
    ) -> list[Claimed]:  # fmt: skip
        chosen = self._line.next(connection, processes, now, limit, room)
        if not chosen:
            return []
        rows = {row[0]: case_row(row) for row in connection.execute(self._sql["claim_cases"], (json.dumps(chosen),)).fetchall()}

        def claimed(row: CaseRow) -> Claimed:
            branches = tuple(BranchRow(*branch) for branch in connection.execute(self._sql["select_branches"], (row.id,)).fetchall())
            if known.get(row.id) == row.revision:
                return Claimed(row, None, branches)
            state = {"case": row.id, "revision": LATEST}
            return Claimed(row, field_rows(connection.execute(self._sql["select_fields"], state).fetchall()), branches)

        return [claimed(rows[case]) for case in chosen]

    def _change_limit(self, connection: sqlite3.Connection, name: str, change: Callable[[str | None], tuple[str, T]]) -> T:
        row = connection.execute(self._sql["select_limit"], (name,)).fetchone()
        before = None if row is None else str(row[0])
        after, answer = change(before)
        if after != before:
            connection.execute(self._sql["upsert_limit"], (name, after))
        return answer


async def open_sqlite(path: Path | str, *, now: float, failpoints: Failpoints = no_failpoints) -> SqliteStore:
    """Open a file for one engine, make it where it is missing, and put what a dead engine left behind back into the line.

    `now` is in Unix seconds. Raises StoreError, with the mend, where the file is locked, foreign, damaged, newer or not writable.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise StoreUnwritable(f"the folder {path.parent} does not exist; make it, or name another file.")
    lock = FileLock(path)
    lock.acquire()
    try:
        writer, epoch, left_running = take_over(path, now)
        try:
            with explained(path):
                return SqliteStore(path, lock, writer, epoch, failpoints, left_running)
        except BaseException:
            writer.close()
            raise
    except BaseException:
        lock.release()
        raise


def take_over(path: Path, now: float) -> tuple[sqlite3.Connection, str, set[int]]:
    """Open the file as its one engine: up to date, under a new epoch, with what a dead engine left running back in the line.

    Answers the connection, the epoch and the cases that were running. Whoever calls it holds the file's lock. Raises StoreError.
    """
    writer = open_writer(path)
    sql = statements("sqlite")
    try:
        writer.execute("BEGIN IMMEDIATE")
        epoch = str(writer.execute(sql["raise_epoch"]).fetchone()[0])
        left_running = {case for (case,) in writer.execute(sql["recover_cases"], (now,))}
        writer.execute("COMMIT")
    except sqlite3.Error as error:
        writer.close()
        raise explain(path, error) from error
    return writer, epoch, left_running


def _concerns_the_file(error: Exception) -> bool:
    """Whether the file is at fault, and not one value or one job."""
    of_a_value = (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError)
    return isinstance(error, StoreError) or (isinstance(error, sqlite3.Error) and not isinstance(error, of_a_value))


def _is_of_the_disk(error: Exception) -> bool:
    """Whether the file could not be read or written, whoever's statement it was."""
    failures = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_BUSY")
    return isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorname", "") or "").startswith(failures)


def _refusal(error: Exception) -> Exception:
    if isinstance(error, Conflict):
        return error
    return Conflict(str(error)) if isinstance(error, sqlite3.IntegrityError) else ValueRefused(f"it cannot be stored: {message_of(error)}")


def _transition(job: _Job) -> Transition:
    assert job.transition is not None
    return job.transition


def _nothing(_: sqlite3.Connection) -> None:
    """The work of a job that is a transition: transitions are written together."""


def _deliver(answers: Sequence[tuple[_Job, Any]]) -> None:
    for job, result in answers:
        if job.answer.done():
            continue  # the caller was cancelled; what it asked for has been committed all the same
        if isinstance(result, Exception):
            job.answer.set_exception(result)
        else:
            job.answer.set_result(result)
