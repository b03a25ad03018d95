"""An engine on a mirror of cases on Restate, for the pages and the API: it shows the copies, and sends what people and programs do to Restate."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pointsman.client.restate import RestateClient
from pointsman.definition.process import AnyProcess, Process
from pointsman.definition.state import State
from pointsman.errors import NotWaiting, Refused, StoreAway, StoreError
from pointsman.integrations.restate_mirror import Cases, Mirror
from pointsman.kernel.answering import Pending, too_late
from pointsman.kernel.happenings import Resolved
from pointsman.kernel.operators import standing
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import Status
from pointsman.runtime.clock import Clock, SystemClock
from pointsman.runtime.engine import Engine
from pointsman.runtime.starts import Delivered, Started
from pointsman.store.mirror import open_mirror

log = logging.getLogger("pointsman")

S = TypeVar("S", bound=State)


class MirrorEngine(Engine):
    """Takes starts, messages, answers and commands, and sends them to Restate. What is not offered there raises Refused.

    It runs no case. Open one with `mirrored`.
    """

    _client: RestateClient
    _mirror: Mirror

    def connect(self, client: RestateClient, mirror: Mirror) -> None:
        """Send what comes to this client, and have the mirror copy what follows from it. Call it once, at first."""
        self._client, self._mirror = client, mirror

    async def start(
        self, process: Process[S] | str, state: S | Mapping[str, Any], *, key: str | None = None, correlation: str | None = None,
        tenant: str = "", priority: int = 0,
    ) -> Started:  # fmt: skip
        """Start a case; see `RestateClient.start`."""
        name = process if isinstance(process, str) else process.name
        started = await self._client.start(name, state, key=key, correlation=correlation, tenant=tenant, priority=priority)
        await self._copy(name, started.case)
        return started

    async def send(
        self, process: AnyProcess | str, message: object, *, name: str | None = None, key: str | None = None, tenant: str = "", priority: int = 0
    ) -> Delivered:  # fmt: skip
        """Send a message; see `RestateClient.send`."""
        to = process if isinstance(process, str) else process.name
        delivered = await self._client.send(to, message, name=name, key=key, tenant=tenant, priority=priority)
        if delivered.case is not None:
            await self._copy(to, delivered.case)
        return delivered

    async def pending(self, case: int) -> Pending:
        """Return the pause at which a case waits; see `Engine.pending`."""
        row = await self.case(case)
        if row.status is not Status.WAITING:
            pause = await self.reader.pause(case)
            if pause is not None and pause.closed == "answered":
                raise too_late(next(process for process in self.processes if process.name == row.process), row, pause)
            raise NotWaiting(f"case {case} is not waiting for an answer: {standing(row)}.")
        return await super().pending(case)

    async def resume(self, token: str, answer: object, *, by: str, edits: Mapping[str, object] | None = None) -> CaseRow:
        """Answer a pause; see `RestateClient.answer`."""
        pause = await self.reader.pause_by_token(token)
        if pause is None:
            raise NotWaiting("no pause has this token; look at the case again and answer with the token that it shows.")
        row = await self.case(pause.case)
        return await self._do(row, self._client.answer(row.process, row.id, token, answer, by=by, edits=edits))

    async def assign(self, case: int, to: str, *, by: str, note: str = "") -> CaseRow:
        """Ask somebody else to answer the open pause; see `RestateClient.assign`."""
        row = await self.case(case)
        return await self._do(row, self._client.assign(row.process, case, to, by=by, note=note))

    async def cancel(self, case: int, *, by: str, why: str) -> CaseRow:
        """Cancel a case; see `RestateClient.cancel`."""
        row = await self.case(case)
        return await self._do(row, self._client.cancel(row.process, case, by=by, why=why))

    async def redrive(self, case: int, *, by: str, why: str, fields: Mapping[str, object] | None = None) -> CaseRow:
        """Return a parked or blocked case to the backlog, or correct fields; see `RestateClient.redrive`."""
        row = await self.case(case)
        return await self._do(row, self._client.redrive(row.process, case, by=by, why=why, fields=fields))

    async def resolve(
        self, key: str, *, happened: bool, by: str, why: str, outcome: object = None, expected_attempts: int | None = None
    ) -> CaseRow:
        """Record what became of an effect in doubt; see `RestateClient.resolve`."""
        entry = await self.reader.effect(key)
        if entry is None:
            raise Refused(f"no effect has the key {key!r}; copy it from the case.")
        row = await self.case(entry.case)
        said = Resolved(key, happened, by, why, outcome, expected_attempts)
        return await self._do(row, self._client.call(row.process, row.id, "resolve", said._asdict()))

    async def check_ready(self) -> None:
        """Return if the engine runs, can read the mirror, and Restate takes calls. Raises StoreError, EngineStopped."""
        await super().check_ready()
        await self._client.services()

    async def follow(self, seconds: float, stop: asyncio.Event) -> None:
        """Copy what has changed every so many `seconds`, until `stop` is set. If the file cannot be written, the engine fails."""
        try:
            await self._mirror.follow(seconds, stop, lambda _: self._appended(), lambda error: log.warning("%s", error))
        except StoreError as error:
            self._fail(error)

    async def _do(self, row: CaseRow, call: Awaitable[object]) -> CaseRow:
        try:
            await call
        finally:  # also if it is refused: the case may have changed since it was copied
            await self._copy(row.process, row.id)
        return await self.case(row.id)

    async def _copy(self, process: str, case: int) -> None:
        """Copy a case that has changed. If Restate is away now, a later look copies it."""
        with suppress(StoreAway):
            await self._mirror.look_at(process, case)
            self._appended()


@asynccontextmanager
async def mirrored(
    file: Path | str, processes: Sequence[AnyProcess], cases: Cases, client: RestateClient, *, seconds: float = 1.0, clock: Clock | None = None
) -> AsyncIterator[MirrorEngine]:  # fmt: skip
    """Open an engine on the mirror in `file` of these `cases`, and copy what has changed every so many `seconds`. Raises StoreError."""
    clock, stop = clock or SystemClock(), asyncio.Event()
    store = await open_mirror(file)
    try:
        mirror = Mirror(cases, store, processes, clock)
        for sentence in (await mirror.look()).left_out:
            log.warning("%s", sentence)
        async with MirrorEngine.open(file, processes, concurrency=0, store=store, clock=clock) as engine:
            engine.connect(client, mirror)
            following = asyncio.create_task(engine.follow(seconds, stop))
            try:
                yield engine
            finally:
                stop.set()
                await following
    finally:
        await store.close()
