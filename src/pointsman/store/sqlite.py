"""The embedded store: one SQLite file, one engine, one thread that writes.

The writer commits all transitions that are queued as one batch, so that they share one flush to disk and a few statements. The
guard finds a stale transition before it has written anything. If a later statement fails, the writer rolls the batch back and
runs each job again in its own savepoint. Callers get their results after the flush.
With a single writer, engines never compete for the database lock, and SQLite's WAL-reset bug (3.7.0 to 3.51.2,
https://sqlite.org/wal.html#walresetbug) cannot occur: it needs two connections that write or checkpoint.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from pointsman.errors import EngineStopped, StoreError, StoreLocked, StoreUnwritable
from pointsman.kernel.record import record
from pointsman.kernel.rows import Post, Transition
from pointsman.store import sqlite_keeping as keeping
from pointsman.store.base import Failpoints, Posted, Reader, no_failpoints
from pointsman.store.core_store import CoreStore
from pointsman.store.sqlite_core import PostAsked, SqliteCore, concerns_the_file, refusal
from pointsman.store.sqlite_file import FileLock, begin, connect_read_only, explain, explained, identity, open_writer, real
from pointsman.store.sqlite_reader import SqliteReader
from pointsman.store.sqlite_threads import ThreadedReader

BATCH_MAX = 512  # transitions from which on a commit takes in no more: the first would wait longer than sharing the flush saves

T = TypeVar("T")
Work = Callable[[SqliteCore], Any]


@record
class _Job:
    """A job for the writer: a transition, other work in the batch's transaction, or work to run `alone` outside any transaction.

    `post` is the message that the work delivers, if that is what it does.
    """

    work: Work
    answer: asyncio.Future[Any] | Future[Any]
    transition: Transition | None = None
    alone: bool = False
    post: PostAsked | None = None


class SqliteStore(CoreStore):
    """The whole store contract on one file. Make it with `open_sqlite`, inside a running event loop."""

    lease_seconds: float | None = None  # one engine has the file at a time

    def __init__(self, path: Path, lock: FileLock, writer: sqlite3.Connection, epoch: int, failpoints: Failpoints) -> None:
        super().__init__(path)
        self.core = SqliteCore(writer, path)
        self.core.engine = epoch
        self.clock_high_water = self.core.clock_high_water()
        self._readers = ThreadedReader(path, self.incarnation)
        self._lock = lock
        self._place = str(path)
        self._file = identity(self._place)
        self._failpoints = failpoints
        self._loop = asyncio.get_running_loop()
        self._coming: list[_Job] = []  # what came in this turn of the event loop
        self._lone = False  # whether the last batch was a single job: the next one will hardly be followed by another in its turn
        self._jobs: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._closing = False  # stop waiting for other programs' locks
        self._closed = False
        self._foreign = 0  # jobs of other threads that are not answered yet
        self._handing_in = threading.Lock()  # so that a job of another thread is queued before the writer's last one, or refused
        self._failed: StoreUnwritable | None = None  # set once a commit has failed; nothing more is written
        self._thread = threading.Thread(target=self._write, name="pointsman-writer", daemon=True)
        self._thread.start()

    @property
    def reader(self) -> Reader:
        """The reading half in threads; see the contract."""
        return self._readers

    def commit(self, transition: Transition) -> Awaitable[int]:
        """Commit a transition; see the contract."""
        return self._hand_in(_nothing, transition)

    async def post(
        self, post: Post, start: Transition | None = None, *, released: int | None = None, full: bool = False
    ) -> Posted | None:  # fmt: skip
        """Deliver a message; see the contract."""
        asked = PostAsked(post, start, released, full)
        posted: Posted | None = await self._hand_in(lambda core: core.post(*asked), post=asked)
        return posted

    def _commit(self, work: Callable[[SqliteCore], T]) -> Awaitable[T]:
        return self._hand_in(work)

    def _alone(self, work: Callable[[SqliteCore], T]) -> Awaitable[T]:
        return self._hand_in(work, alone=True)

    def _commit_from_any_thread(self, work: Callable[[SqliteCore], T]) -> Future[T]:
        answer: Future[T] = Future()
        answer.set_running_or_notify_cancel()  # a caller that stops waiting cancels nothing: its work may be committed already
        with self._handing_in:
            if self._closed:
                raise self._stopped()
            self._foreign += 1
            self._jobs.put([_Job(work, answer)])
        return answer

    def _read_from_any_thread(self, read: Callable[[SqliteReader], T]) -> Future[T]:
        return self._readers.submit(read)

    async def renew(self) -> float:
        """Raise StoreError: this store has no leases."""
        raise StoreError(f"{self.path} belongs to one engine and has no leases.")

    async def announce(self, accepts: Mapping[str, Collection[int]]) -> None:
        """Do nothing: no other engine claims."""

    async def announced(self) -> Collection[tuple[str, int]]:
        """Return nothing: there is no other engine."""
        return ()

    async def notifications(self) -> AsyncGenerator[None, None]:
        """Yield nothing: no other engine writes to the file."""
        for _ in ():
            yield

    async def _unreferenced(self, before: float) -> list[tuple[str, int]]:
        def search() -> list[tuple[str, int]]:
            with explained(self.path), closing(connect_read_only(self.path)) as connection:
                return keeping.unreferenced(connection, self._sql, before, lambda: self._closed)

        return await asyncio.to_thread(search)

    def closing(self) -> None:
        """Stop waiting for other programs that lock the file; see the contract."""
        self._closing = True

    async def close(self) -> None:
        """Finish the queued commits and close the file."""
        if self._closed:
            return
        self.closing()
        with self._handing_in:
            self._closed = True
        await asyncio.to_thread(self._readers.close)
        self.shut()  # before the writer: the last connection to close checkpoints the WAL, and only the writer can
        self._jobs.put(None)  # what came before `_closed` has been handed over: the loop has turned since
        await asyncio.to_thread(self._thread.join)

    def _hand_in(
        self, work: Work, transition: Transition | None = None, *, alone: bool = False, post: PostAsked | None = None
    ) -> asyncio.Future[Any]:  # fmt: skip
        if self._closed:
            raise self._stopped()
        answer: asyncio.Future[Any] = asyncio.Future(loop=self._loop)
        self._coming.append(_Job(work, answer, transition, alone, post))
        if self._lone:
            self._hand_over()
        elif len(self._coming) == 1:
            self._loop.call_soon(self._hand_over)
        return answer

    def _stopped(self) -> EngineStopped:
        return EngineStopped(f"the engine on {self.path} is closed; open it again.")

    def _hand_over(self) -> None:
        """Give the writer what came in this turn of the event loop, a batch at once: each hand-over can wake it."""
        for begun in range(0, len(self._coming), BATCH_MAX):
            self._jobs.put(self._coming[begun : begun + BATCH_MAX])
        self._coming = []

    def _deliver(self, answers: Sequence[tuple[_Job, Any]]) -> None:
        self._lone = len(answers) == 1
        for job, result in answers:
            if job.answer.done():
                continue  # the caller was cancelled; its work is committed all the same
            if isinstance(result, Exception):
                job.answer.set_exception(result)
            else:
                job.answer.set_result(result)

    # The methods below run in the writer's thread.

    def _write(self) -> None:
        """Write until `close` queues None. Release the file here, so that it is released even if nobody awaits `close`."""
        try:
            self._write_batches()
        finally:
            self.core.connection.close()
            self._lock.release()

    def _write_batches(self) -> None:
        while (batch := self._jobs.get()) is not None:
            last = False
            while len(batch) < BATCH_MAX and not self._jobs.empty():
                following = self._jobs.get()
                if following is None:
                    last = True
                    break
                batch += following
            together = [job for job in batch if not job.alone]
            answers = self._commit_batch(together)
            if len(together) < len(batch):
                answers += [self._run_alone(job) for job in batch if job.alone]
            if self._foreign:
                answers = self._answer_foreign(answers)
            if answers:
                self._loop.call_soon_threadsafe(self._deliver, answers)
            if last:
                return

    def _answer_foreign(self, answers: Sequence[tuple[_Job, Any]]) -> list[tuple[_Job, Any]]:
        """Answer the callers in other threads at once, and return the answers to those in the event loop."""
        others = [one for one in answers if isinstance(one[0].answer, asyncio.Future)]
        with self._handing_in:
            self._foreign -= len(answers) - len(others)
        for job, result in answers:
            if isinstance(job.answer, asyncio.Future):
                continue
            if isinstance(result, Exception):
                job.answer.set_exception(result)
            else:
                job.answer.set_result(result)
        return others

    def _run_alone(self, job: _Job) -> tuple[_Job, Any]:
        if self._failed is not None:
            return job, self._failed
        self._failpoints("store.alone")
        try:
            return job, job.work(self.core)
        except sqlite3.Error as error:
            return job, explain(self.path, error)

    def _commit_batch(self, batch: Sequence[_Job]) -> list[tuple[_Job, Any]]:
        """Run a batch in one transaction. Return each job's result or exception, to be delivered after the flush."""
        if self._failed is not None:
            return [(job, self._failed) for job in batch]
        if not batch:
            return []
        try:
            try:
                return self._commit_whole(batch, self._run_together)
            except Exception as refused:
                if concerns_the_file(refused):
                    raise
                # A job failed after it had begun to write. Run each in its own savepoint to find out which.
                self.core.roll_back()
                return self._commit_whole(batch, self._run_apart)
        except Exception as error:
            # COMMIT was never sent, so nothing of the batch was written.
            reason = explain(self.path, error) if isinstance(error, sqlite3.Error) else error
            with suppress(sqlite3.Error):
                self.core.roll_back()
            return [(job, reason) for job in batch]

    def _commit_whole(self, batch: Sequence[_Job], run: Callable[[Sequence[_Job]], list[tuple[_Job, Any]]]) -> list[tuple[_Job, Any]]:
        connection = self.core.connection
        self._failpoints("store.begin")
        if identity(self._place) != self._file:  # the connection would go on with a file that nobody finds again
            raise StoreError(
                f"{self.path} was deleted, moved or replaced while the engine had it open, and nothing more is written; "
                "put the file back and open the engine again."
            )
        begin(connection, self.path, closing=lambda: self._closing)
        if not self.core.has_epoch(self.core.engine):
            raise StoreLocked(f"another engine has taken over {self.path}; this one has stopped writing.")
        answers = run(batch)
        self._failpoints("store.commit")
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            # The commit may have reached the disk. A failed flush must not be retried on the same connection: the retry could
            # succeed without writing anything. Opening the file again shows what was committed.
            self._failed = StoreUnwritable(
                f"{explain(self.path, error)} Open the engine again to find out whether the last commit was kept."
            )
            return [(job, self._failed) for job in batch]
        self._failpoints("store.committed")
        return answers

    def _run_together(self, batch: Sequence[_Job]) -> list[tuple[_Job, Any]]:
        """Write all transitions in a few statements, then run the other jobs one by one. The usual case."""
        answers: list[tuple[_Job, Any]] = []
        remaining = batch
        while remaining:
            # One statement cannot hold two transitions of the same case: write the first, then the next.
            first: dict[int, _Job] = {}
            transitions: list[Transition] = []
            later: list[_Job] = []
            for job in remaining:
                if job.transition is None:
                    continue
                if first.setdefault(job.transition.case, job) is job:
                    transitions.append(job.transition)
                else:
                    later.append(job)
            if transitions:
                answers += zip(first.values(), self.core.apply(transitions), strict=True)
            remaining = later
        # After the transitions: a release queued after a commit must see what the commit wrote.
        rest = [job for job in batch if job.transition is None]
        return answers + self._run_rest(rest) if rest else answers

    def _run_rest(self, rest: Sequence[_Job]) -> list[tuple[_Job, Any]]:
        """Deliver messages that start cases in a few statements, then run the other jobs one by one."""
        if len(rest) == 1:
            return [(rest[0], rest[0].work(self.core))]
        posts = [(place, job.post) for place, job in enumerate(rest) if job.post is not None]
        posted = self.core.post_together([post for _, post in posts])
        done = {posts[number][0]: one for number, one in posted.items()}
        return [(job, done[place] if place in done else job.work(self.core)) for place, job in enumerate(rest)]

    def _run_apart(self, batch: Sequence[_Job]) -> list[tuple[_Job, Any]]:
        """Run each job in its own savepoint, so that one that fails does not affect the others."""
        answers: list[tuple[_Job, Any]] = []
        for job in batch:
            self.core.connection.execute("SAVEPOINT job")
            try:
                result = job.work(self.core) if job.transition is None else self.core.apply([job.transition])[0]
            except Exception as error:
                if concerns_the_file(error):
                    raise
                self.core.roll_back("job")
                result = refusal(error)
            self.core.connection.execute("RELEASE job")
            answers.append((job, result))
        return answers


async def open_sqlite(path: Path | str, *, now: float, failpoints: Failpoints = no_failpoints) -> SqliteStore:
    """Open a file for one engine, create it if it is missing, and make the cases that a dead engine left running ready again.

    `now` is in Unix seconds. Raises StoreError, with the fix, if the file is locked, foreign, damaged, newer or not writable.
    """
    if not isinstance(cast("object", path), str | Path) or not str(path) or "\0" in str(path) or str(path) == ":memory:":
        raise StoreUnwritable(f"{path!r} is not the path of a file; name the file that holds the cases.")
    path = real(Path(path))  # the program may go into another folder
    if not path.parent.is_dir():
        raise StoreUnwritable(f"the folder {path.parent} does not exist; make it, or name another file.")
    lock = FileLock(path)
    lock.acquire()
    try:
        writer, epoch = take_over(path, now)
        try:
            with explained(path):
                return SqliteStore(path, lock, writer, epoch, failpoints)
        except BaseException:
            writer.close()
            raise
    except BaseException:
        lock.release()
        raise


def take_over(path: Path, now: float) -> tuple[sqlite3.Connection, int]:
    """Open the file as its only engine: migrate it, raise the epoch, and make the cases that a dead engine left running ready again.

    Returns the connection and the epoch. The caller holds the file's lock. Raises StoreError.
    """
    writer = open_writer(path)
    try:
        writer.execute("BEGIN IMMEDIATE")
        core = SqliteCore(writer, path)
        epoch = core.raise_epoch()
        core.recover(now)
        writer.execute("COMMIT")
    except sqlite3.Error as error:
        writer.close()
        raise explain(path, error) from error
    return writer, epoch


def _nothing(_: SqliteCore) -> None:
    """The work of a transition's job: the batch writes its transition."""
