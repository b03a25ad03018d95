"""Block the cases whose version no engine's code accepts, and unblock those that this engine's code accepts."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from pointsman.definition.process import AnyProcess
from pointsman.errors import Conflict, ValueRefused, VersionNotAccepted
from pointsman.kernel.case import loaded_case
from pointsman.kernel.effects import vanished
from pointsman.kernel.happenings import AcceptedHere, NotAcceptedHere
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import Status
from pointsman.runtime.cases import Cases
from pointsman.runtime.ports import Ports
from pointsman.runtime.registry import Registry
from pointsman.store.base import DefinitionRow, DefinitionStore, PrivateField, SharedStore

PAGE = 500  # cases committed at once: about as many as the writer puts into one transaction


class VersionGate:
    """Blocks and unblocks cases by their version. Its cost grows with the number of cases that no code accepts.

    On a shared store, each engine announces what it accepts. A case stays with the engines that accept it, as during a deploy; it is
    blocked only when the lease of the last of them has ended. An engine that `runs` no cases accepts none: no case could wait for it.
    """

    def __init__(self, ports: Ports, cases: Cases, registry: Registry, *, runs: bool) -> None:
        self._store: DefinitionStore = ports.store
        self._shared: SharedStore = ports.store
        self._lease = ports.lease
        self._clock = ports.clock
        self._cases = cases
        self._registry = registry
        self._runs = runs
        self._changed: tuple[AnyProcess, ...] = ()

    @property
    def changed(self) -> Sequence[AnyProcess]:
        """The processes with rules of which the database knows other definitions, and not yet this one; none in an engine that runs no cases."""
        return self._changed if self._runs else ()

    def is_run_by(self, process: AnyProcess, row: CaseRow) -> bool:
        """Return whether a case is run by this version of its process."""
        return self._registry.accepting(row.process, row.version) is process

    async def remember(self, processes: Sequence[AnyProcess]) -> None:
        """Store that cases have been run with these definitions. Raises StoreError."""
        await self._store.register([self._definition(process) for process in processes])

    async def begin(self) -> None:
        """Store the definitions of new processes, unblock the cases that this code accepts, and block those that no code accepts. Raises StoreError."""
        if self._lease.shared:
            await self._shared.announce(self._registry.accepts if self._runs else {})
        await self._register()
        await self.look()

    async def look(self) -> None:
        """Unblock the cases that this code accepts, and block those that no engine accepts any more. Raises StoreError."""
        if self._runs:
            await self.unblock()
            await self._block()

    async def unblock(self) -> None:
        """Return the blocked cases that this engine's code accepts to the backlog. Raises StoreError."""
        after = 0
        while page := await self._store.cases(status=Status.BLOCKED, after=after, limit=PAGE):
            after = page[-1].id
            accepted = [row for row in page if self._registry.accepting(row.process, row.version) is not None]
            await asyncio.gather(*(self._unblock_one(row) for row in accepted))

    async def _register(self) -> None:
        known = {row[:3] for row in await self._store.definitions()}
        names = {name for name, _, _ in known}
        unknown = [process for process in self._registry if self._definition(process)[:3] not in known]
        self._changed = tuple(process for process in unknown if process.name in names and process.ordered_rules)
        new = [self._definition(process) for process in unknown if process not in self._changed]
        declared = {PrivateField(process.name, field) for process in self._registry for field in process.private}
        private = sorted(declared.difference(await self._store.private())) if declared else []
        if new or private:
            await self._store.register(new, private)

    def _definition(self, process: AnyProcess) -> DefinitionRow:
        return DefinitionRow(process.name, process.version, process.fingerprint, self._clock.now())

    async def _unblock_one(self, row: CaseRow) -> None:
        version = await self._accepting(row)
        if version is None:
            return
        with suppress(Conflict):
            await self._cases.apply(self._cases.bare(row), AcceptedHere(version))

    async def _accepting(self, row: CaseRow) -> int | None:
        """Return the version of the code that can run a case, or None."""
        process = self._registry.accepting(row.process, row.version)
        if process is None or any(vanished(process, entry) for entry in await self._store.effects(row.id)):
            return None
        try:
            loaded_case(process, row, await self._store.fields(row.id))
        except VersionNotAccepted:
            return None
        except ValueRefused:
            pass  # unblock it: the claim parks it, with the value that does not fit as the reason
        return process.version

    async def _block(self) -> None:
        for name in self._registry.names:
            for version in await self._store.versions(name):
                try:
                    self._registry.for_case(name, version)
                except VersionNotAccepted as error:
                    if not await self._cases.accepted_elsewhere(name, version):
                        await self._block_version(name, version, str(error))

    async def _block_version(self, name: str, version: int, reason: str) -> None:
        while page := await self._store.cases_of_version(name, version, limit=PAGE):
            await asyncio.gather(*(self._cases.apply(self._cases.bare(row), NotAcceptedHere(reason)) for row in page))
