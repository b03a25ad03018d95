"""Compensation: take back, the last one first, what the ledger says has happened (Garcia-Molina & Salem, "Sagas", 1987).

What an effect did is known from its entry in the ledger and from the fields as they stood when its intent was committed; the
state of today may have moved on. Each compensation is an effect of its own, with its own policy and its own entry, whose key
is made of the key of what it takes back: a crash in between goes on where the ledger ends.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from pointsman.definition.effects import AnyCompensation, Compensation, Effect
from pointsman.definition.rules import Compensate
from pointsman.errors import ValueRefused, VersionNotAccepted
from pointsman.kernel.codec import message_of
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import standing_after
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.migrate import migrate
from pointsman.kernel.rows import EffectRow, FieldRow
from pointsman.kernel.snapshot import Cell, LogCell, Status
from pointsman.runtime.commits import Commits
from pointsman.runtime.effects import Effects
from pointsman.runtime.hold import Hold, Outcome, cells_from, cells_of
from pointsman.store.base import Store

PAGE = 1_000  # events read at once


class _Intent(NamedTuple):
    """The first intent of an effect: its place among the case's intents, its revision, and the version that the case had then."""

    place: int
    revision: int | None
    version: int


class Undoing:
    """Compensates cases."""

    def __init__(self, store: Store, commits: Commits, effects: Effects) -> None:
        self._store = store
        self._commits = commits
        self._effects = effects

    async def run(self, hold: Hold, step: Compensate) -> Outcome:
        """Call the compensations that are still to be called; the outcome ends the case when there are none left."""
        entries = await self._store.effects(hold.snapshot.case)
        undone = {entry.key for entry in entries if entry.status is EffectStatus.DONE and isinstance(_effect(hold, entry), Compensation)}
        named: list[str] = []
        intents = await self._intents(hold)
        # Their times may be the same, as by a clock that was set back; their places among the events are not.
        for entry in sorted(entries, key=lambda entry: intents[entry.key].place, reverse=True):
            effect = _effect(hold, entry)
            if entry.status is not EffectStatus.DONE or effect is None or effect.undo is None:
                continue
            named.append(entry.effect)
            stopped = await self._undo(hold, effect.undo, entry, intents[entry.key], undone)
            if stopped is not None:
                return stopped
        return Outcome((Event(Kind.COMPENSATED, facts={"effects": named}),), finishes=step.outcome)

    async def begun(self, hold: Hold) -> Compensate | None:
        """The compensation that the case is at, once one call has been taken back: it goes on to its end, whatever comes meanwhile."""
        step = hold.process.compensates.get(hold.step or "")
        if step is None:
            return None
        called = {EffectStatus.DONE, EffectStatus.INTENDED, EffectStatus.IN_DOUBT}
        entries = await self._store.effects(hold.snapshot.case)
        return step if any(entry.status in called and isinstance(_effect(hold, entry), Compensation) for entry in entries) else None

    async def _undo(self, hold: Hold, compensation: AnyCompensation, entry: EffectRow, intent: _Intent, undone: set[str]) -> Outcome | None:
        """Call one compensation, as of the call that it takes back; the outcome where the case cannot go on to the next one."""
        today = hold.snapshot.cells
        if entry.outcome is None:
            told = f"effect {entry.effect!r} happened, but its outcome is not known ({entry.error})"
            return Outcome(
                (), park=f"{told}; say what it was with engine.resolve({entry.key!r}, happened=True, outcome=...), and it is taken back"
            )
        try:
            then = await self._cells_then(hold, entry, intent)
        except (VersionNotAccepted, ValueRefused) as error:
            return Outcome((), park=f"{compensation.name!r} cannot be called: {message_of(error)}; take {entry.effect!r} back by hand")
        hold.snapshot, hold.undoes = hold.snapshot._replace(cells=then), entry.key
        try:
            if self._effects.key_of(hold, compensation) in undone:
                return None
            outcome = await self._effects.perform(hold, compensation)
        finally:
            hold.snapshot, hold.undoes = hold.snapshot._replace(cells=today), ""
        if outcome.park is not None or outcome.wake_at is not None:
            return outcome
        hold.attempt = 1
        await self._commits.stay(hold, Status.RUNNING, outcome)
        return None

    async def _cells_then(self, hold: Hold, entry: EffectRow, intent: _Intent) -> dict[str, Cell]:
        """The fields as they stood at an effect's intent, and what the effect wrote, both as the present version has them.

        Raises VersionNotAccepted, ValueRefused.
        """
        fields = await self._store.fields(hold.snapshot.case, revision=intent.revision)
        if intent.version == hold.process.version:
            cells = cells_of(hold.process, fields)
            writes = cells_from(hold.process, entry.outcome or "{}", entry.effect)
            return cells | {name: standing_after(cells, name, write) for name, write in writes.items()}
        texts = {row.field: (row.text, row.writer) for row in fields}
        for name, outcome in json.loads(entry.outcome or "{}").items():
            text = outcome
            if name in hold.process.logs:
                standing = (texts[name][0],) if name in texts else ()
                text = LogCell([], (*standing, f"[{outcome}]"), entry.effect).text
            texts[name] = (text, entry.effect)
        migrated = migrate(hold.process, intent.version, texts)
        return cells_of(hold.process, [FieldRow(name, *cell, 0) for name, cell in migrated.fields.items()])

    async def _intents(self, hold: Hold) -> Mapping[str, _Intent]:
        """The first intent for each key of the case."""
        intents: dict[str, _Intent] = defaultdict(lambda: _Intent(0, None, hold.origin.version))
        since = 0  # how many of them are known to be of an earlier version
        after = 0
        while events := await self._store.events(case=hold.snapshot.case, after=after, limit=PAGE):
            for event in events:
                facts = json.loads(event.facts)
                if event.kind == Kind.EFFECT_INTENDED and facts["key"] not in intents:
                    intents[facts["key"]] = _Intent(len(intents), event.revision, hold.origin.version)
                elif event.kind == Kind.MIGRATED:
                    for key in [*intents][since:]:
                        intents[key] = intents[key]._replace(version=facts["since"])
                    since = len(intents)
            after = events[-1].id
        return intents


def _effect(hold: Hold, entry: EffectRow) -> "Effect[..., object] | None":
    step = hold.process.steps.get(hold.process.called(entry.effect))
    return step if isinstance(step, Effect) else None
