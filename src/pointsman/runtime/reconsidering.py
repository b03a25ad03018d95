"""Decide anew about cases that wait for a person when the rules have changed, once for each new definition, in the background.

A case whose rules choose the same step as before is not changed. A case is left alone, too, if a condition of the new rules raises: whoever looks
at the case or answers it then finds out, and a faulty deploy does not park everything that waits.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from pointsman.definition.pauses import Pause
from pointsman.definition.process import AnyProcess
from pointsman.errors import Conflict, EngineStopped, Refused, ValueRefused, VersionNotAccepted
from pointsman.kernel.case import loaded_case
from pointsman.kernel.decide import leaves
from pointsman.kernel.happenings import Reconsidered
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import Status
from pointsman.runtime.cases import Cases
from pointsman.runtime.ports import Ports
from pointsman.runtime.versions import VersionGate
from pointsman.store.base import Reader

PAGE = 500  # cases in memory at once


class Reconsidering:
    """The background task of one engine. It ends when every waiting case has been looked at."""

    def __init__(self, ports: Ports, cases: Cases, gate: VersionGate, failed: Callable[[Exception], None]) -> None:
        self._looks: Reader = ports.store.reader
        self._failpoints = ports.failpoints
        self._cases = cases
        self._gate = gate
        self._failed = failed
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start the task if a definition is new on this database, and an earlier one of the same process is known there."""
        if changed := self._gate.changed:
            self._task = asyncio.create_task(self._run(changed), name="pointsman-reconsidering")

    async def stop(self) -> None:
        """Stop after the present case. An engine that is opened later begins again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, changed: Sequence[AnyProcess]) -> None:
        try:
            for process in changed:
                await self._look_at_cases(process)
            await self._gate.remember(changed)  # last: an engine that dies before begins again
        except EngineStopped:
            pass
        except Exception as error:
            self._failed(error)

    async def _look_at_cases(self, process: AnyProcess) -> None:
        after = 0
        while page := await self._looks.cases(process=process.name, status=Status.WAITING, after=after, limit=PAGE):
            after = page[-1].id
            for row in page:
                step = process.steps.get(process.called(row.step or ""))
                if (step is None or isinstance(step, Pause)) and self._gate.is_run_by(process, row):
                    await self._look_at(process, row)

    async def _look_at(self, process: AnyProcess, row: CaseRow) -> None:
        with suppress(
            ValueRefused, VersionNotAccepted, Conflict, Refused
        ):  # an engine or a person has changed it, or its state does not fit
            cells = loaded_case(process, row, await self._looks.fields(row.id)).snapshot.cells
            if leaves(process, cells, row.step):
                self._failpoints("reconsidering")
                await self._cases.apply(await self._cases.session(row), Reconsidered(), drives=True)
