"""Load whole cases from the store, for the machine."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from pointsman.definition.children import Child
from pointsman.definition.effects import Effect
from pointsman.definition.pauses import Pause, Sleep
from pointsman.definition.process import AnyProcess
from pointsman.kernel.case import Case, History, PastIntent, bare_case, loaded_case
from pointsman.kernel.events import Kind
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.messages import CHILD_ENDED
from pointsman.kernel.rows import BranchRow, CaseRow, FieldRow, MessageRow
from pointsman.kernel.snapshot import Status
from pointsman.runtime.recent import Recent
from pointsman.store.base import CaseReader


class Loader:
    """Loads cases, and the messages and children that arrive while they run."""

    def __init__(self, store: CaseReader, recent: Recent) -> None:
        self._store = store
        self._recent = recent

    def known(self) -> Mapping[int, int]:
        """Return the cases whose fields are cached, each with its revision."""
        return self._recent.revisions()

    def bare(self, process: AnyProcess, row: CaseRow) -> Case:
        """Return a case for a transition that does not read its fields."""
        return bare_case(process, row, self._store.incarnation)

    async def load(
        self, process: AnyProcess, row: CaseRow, fields: Sequence[FieldRow] | None = None, branches: Sequence[BranchRow] | None = None, *,
        corrected: Collection[str] = (),
    ) -> Case:  # fmt: skip
        """Return a case with everything stored about it. Raises VersionNotAccepted, and ValueRefused if a field does not fit the code."""
        cells = self._recent.cells(process, row) if fields is None else None
        if fields is None and cells is None:
            fields = await self._store.fields(row.id)
        if branches is None:
            # A case that no engine runs has branches only if it was parked in a parallel step.
            branches = await self._store.branches(row.id) if row.status is Status.PARKED else ()
        case = loaded_case(
            process, row, fields or (), branches, cells=cells, corrected=corrected, incarnation=self._store.incarnation
        )  # fmt: skip
        return await self.complete(process, case)

    async def complete(self, process: AnyProcess, case: Case) -> Case:
        """Return the case with its ledger, open pause, messages and children."""
        row, step = case.row, process.steps.get(case.row.step or "")
        ledger = {entry.key: entry for entry in await self._store.effects(row.id)}
        pause = None
        if (step is None or isinstance(step, Pause | Sleep)) and row.status in _MAY_PAUSE:  # None: the code may no longer have the step
            pause = await self._store.pause(row.id)
        children = tuple(await self._store.children(row.id)) if isinstance(step, Child) else ()
        case = replace(case, ledger=ledger, pause=pause if pause is not None and pause.closed is None else None, children=children)
        return await self.with_messages(case) if row.inbox else case

    async def with_messages(self, case: Case) -> Case:
        """Return the case with its current inbox."""
        messages = await self._store.messages(case.row.id)
        ends = {end["case"]: await self.fields_of(end["case"]) for message in messages for end in _child_ends(message)}
        return case.having(messages, ends)

    async def with_children(self, case: Case) -> Case:
        """Return the case with its current children."""
        return replace(case, children=tuple(await self._store.children(case.row.id)))

    async def fields_of(self, case: int) -> dict[str, FieldRow]:
        """Return the fields of a case, by name."""
        return {row.field: row for row in await self._store.fields(case)}

    async def with_history(self, process: AnyProcess, case: Case) -> Case:
        """Return the case with its history."""
        first: dict[str, tuple[int, int, int]] = {}  # position, revision, version
        written: dict[str, set[str]] = defaultdict(set)
        since = 0  # the number of intents known to be of an earlier version
        for event in await self._store.events_of([case.row.id]):  # `events` may not show the last ones yet
            facts = json.loads(event.facts)
            if event.kind == Kind.EFFECT_INTENDED and facts["key"] not in first:
                first[facts["key"]] = (len(first), event.revision, case.row.version)
            elif event.kind == Kind.EFFECT_SETTLED:
                written[facts["key"]].update(facts["fields"])
            elif event.kind == Kind.MIGRATED:
                for key in [*first][since:]:
                    first[key] = (*first[key][:2], facts["since"])
                since = len(first)
        intents: dict[str, PastIntent] = {}
        for key, (position, revision, version) in first.items():
            fields: tuple[FieldRow, ...] = ()
            entry = case.ledger.get(key)
            if entry is not None and entry.status is EffectStatus.DONE and may_be_undone(process, entry.effect):
                fields = await self._store.fields(case.row.id, revision=revision)
            intents[key] = PastIntent(position, version, fields)
        return replace(case, history=History(intents, {key: frozenset(names) for key, names in written.items()}))


_MAY_PAUSE = frozenset({Status.READY, Status.RUNNING, Status.WAITING})


def may_be_undone(process: AnyProcess, effect: str) -> bool:
    """Return whether an effect has a compensation."""
    step = process.steps.get(process.called(effect))
    return isinstance(step, Effect) and step.undo is not None


def _child_ends(message: MessageRow) -> "list[dict[str, int]]":
    return [json.loads(message.body)] if message.name == CHILD_ENDED else []
