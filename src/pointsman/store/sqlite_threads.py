"""Read a SQLite store in threads, so that a read never delays the event loop."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from pointsman.errors import EngineStopped
from pointsman.store.sqlite_reader import SqliteReader

READERS_MAX = 4  # reads at once: more would only wait for the processor and the disk

P = ParamSpec("P")
T = TypeVar("T")


def _in_a_thread(
    method: Callable[Concatenate[SqliteReader, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return a method with the parameters of `method` that calls it in a thread."""

    async def call(self: "ThreadedReader", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.run(lambda reader: method(reader, *args, **kwargs))

    update_wrapper(call, method)
    return call


class ThreadedReader:
    """The reading half of the store contract. Each read has a thread and a read-only connection while it lasts.

    A connection is opened when all others are in use. A read sees everything that was committed before it was called.
    """

    def __init__(self, path: Path, incarnation: str) -> None:
        self.incarnation = incarnation
        self._path = path
        self._changing = threading.Lock()
        self._idle: list[SqliteReader] = []
        self._closed = False
        self._pool = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="pointsman-reader")

    async def run(self, read: Callable[[SqliteReader], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine that awaits nothing in a thread. Raises EngineStopped after `close`."""
        with self._changing:  # so that the pool, which `close` shuts down in another thread, takes this read
            if self._closed:
                raise self._stopped()
            reading = asyncio.get_running_loop().run_in_executor(self._pool, self._run, read)
        return await reading

    def close(self) -> None:
        """Stop the reads that are running or have not begun, and close all connections."""
        with self._changing:
            self._closed = True
        # Reads that have not begun raise EngineStopped. If they were cancelled instead, so would be the tasks that wait for them.
        self._pool.shutdown()
        for reader in self._idle:
            reader.shut()

    def submit(self, read: Callable[[SqliteReader], T]) -> Future[T]:
        """Run a plain function in one of the threads, called from any thread. Raises EngineStopped after `close`."""
        with self._changing:
            if self._closed:
                raise self._stopped()
            return self._pool.submit(self._with_reader, read)

    def _run(self, read: Callable[[SqliteReader], Coroutine[Any, Any, T]]) -> T:
        def completed(reader: SqliteReader) -> T:
            try:
                read(reader).send(None)
            except StopIteration as answer:
                value: T = answer.value
                return value
            raise AssertionError(read)

        return self._with_reader(completed)

    def _with_reader(self, read: Callable[[SqliteReader], T]) -> T:
        reader = self._take()
        try:
            return read(reader)
        except Exception:
            if self._closed:
                raise self._stopped() from None
            raise
        finally:
            with self._changing:
                self._idle.append(reader)

    def _take(self) -> SqliteReader:
        with self._changing:
            if self._closed:
                raise self._stopped()
            if self._idle:
                return self._idle.pop()
        reader = SqliteReader(self._path)
        reader.stop_when(lambda: self._closed)
        return reader

    def _stopped(self) -> EngineStopped:
        return EngineStopped(f"the engine on {self._path} is closed; open it again.")

    case = _in_a_thread(SqliteReader.case)
    cases = _in_a_thread(SqliteReader.cases)
    open_cases = _in_a_thread(SqliteReader.open_cases)
    versions = _in_a_thread(SqliteReader.versions)
    cases_of_version = _in_a_thread(SqliteReader.cases_of_version)
    definitions = _in_a_thread(SqliteReader.definitions)
    private = _in_a_thread(SqliteReader.private)
    case_by_key = _in_a_thread(SqliteReader.case_by_key)
    find = _in_a_thread(SqliteReader.find)
    counts = _in_a_thread(SqliteReader.counts)
    count_places = _in_a_thread(SqliteReader.count_places)
    fields = _in_a_thread(SqliteReader.fields)
    events = _in_a_thread(SqliteReader.events)
    newest_events = _in_a_thread(SqliteReader.newest_events)
    cases_of = _in_a_thread(SqliteReader.cases_of)
    fields_of = _in_a_thread(SqliteReader.fields_of)
    writes_of = _in_a_thread(SqliteReader.writes_of)
    effects_of = _in_a_thread(SqliteReader.effects_of)
    events_of = _in_a_thread(SqliteReader.events_of)
    count_waiting = _in_a_thread(SqliteReader.count_waiting)
    effect = _in_a_thread(SqliteReader.effect)
    effects = _in_a_thread(SqliteReader.effects)
    in_doubt = _in_a_thread(SqliteReader.in_doubt)
    pause = _in_a_thread(SqliteReader.pause)
    pause_by_token = _in_a_thread(SqliteReader.pause_by_token)
    branches = _in_a_thread(SqliteReader.branches)
    messages = _in_a_thread(SqliteReader.messages)
    held = _in_a_thread(SqliteReader.held)
    unmatched = _in_a_thread(SqliteReader.unmatched)
    children = _in_a_thread(SqliteReader.children)
    usage_of_case = _in_a_thread(SqliteReader.usage_of_case)
    usage_of_days = _in_a_thread(SqliteReader.usage_of_days)
    limits = _in_a_thread(SqliteReader.limits)
    backlog = _in_a_thread(SqliteReader.backlog)
    intake_paused = _in_a_thread(SqliteReader.intake_paused)
    gaps = _in_a_thread(SqliteReader.gaps)
    blob = _in_a_thread(SqliteReader.blob)
    dossier = _in_a_thread(SqliteReader.dossier)
    engines = _in_a_thread(SqliteReader.engines)
