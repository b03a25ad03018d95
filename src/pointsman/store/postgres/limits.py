"""The states of limits in a PostgreSQL store: the changes of a handle that wait for one limit are committed together."""

import asyncio
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from pointsman.errors import EngineStopped
from pointsman.kernel.limits import LimitChange, LimitChanged, LimitState, changed, state_of, text_of
from pointsman.store.postgres.connections import Connections, rows_of

Waiting = tuple[LimitChange, asyncio.Future[LimitChanged]]


class LimitChanges:
    """Change limits (S17). The row of a limit is locked while it changes, so that each change sees all earlier ones.

    The lock lasts for one round trip to the server: it is released before the log is on the disk, for which only the handle waits.
    Whoever changes the limit meanwhile builds on a change that a crash of the server may take back, but then the crash takes back the
    later one, too, and nobody has been told of either. Changes of this handle that come meanwhile share the next transaction.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._waiting: dict[str, list[Waiting]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def change(self, change: LimitChange) -> LimitChanged:
        """Apply a change, and return when it is durable. Raises StoreError."""
        name = change.limit.name
        done: asyncio.Future[LimitChanged] = asyncio.get_running_loop().create_future()
        if name in self._waiting:
            self._waiting[name].append((change, done))
        else:
            self._waiting[name] = [(change, done)]
            task = asyncio.create_task(self._run(name))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await done

    async def _run(self, name: str) -> None:
        """Commit the changes that wait for a limit, until there are none."""
        batch: list[Waiting] = []
        try:
            while batch := self._waiting[name]:
                self._waiting[name] = []
                await self._commit(name, batch)
        finally:
            for _, done in batch + self._waiting.pop(name):  # not empty only if this task was cancelled
                if not done.done():
                    done.set_exception(EngineStopped(f"the engine stopped before it changed limit {name!r}; open it again."))

    async def _commit(self, name: str, batch: Sequence[Waiting]) -> None:
        """Commit these changes together, and answer each."""
        try:
            answers = await self._apply(name, [change for change, _ in batch])
        except Exception as error:
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
            return
        for (_, done), answer in zip(batch, answers, strict=True):
            if not done.done():
                done.set_result(answer)

    async def _apply(self, name: str, changes: Sequence[LimitChange]) -> list[LimitChanged]:
        sql, answers = self._connections.sql, list[LimitChanged]()
        async with self._connections.connection() as connection:
            async with self._connections.transaction_on(connection):
                before = state = await self._locked(connection, name)
                for change in changes:
                    answers.append(changed(state, change))
                    state = answers[-1].state
                if state != before:
                    await rows_of(connection, sql["update_limit"], {"name": name, "state": text_of(state)})
            if state != before:
                await rows_of(connection, sql["flush_log"])
        return answers

    async def _locked(self, connection: AsyncConnection[Any], name: str) -> LimitState:
        """Lock a limit and return its state."""
        sql = self._connections.sql
        rows = await rows_of(connection, sql["lock_limit"], {"name": name})
        if not rows:
            await rows_of(connection, sql["enter_limit"], {"name": name, "state": text_of(LimitState())})
            rows = await rows_of(connection, sql["lock_limit"], {"name": name})
        return state_of(rows[0][0])
