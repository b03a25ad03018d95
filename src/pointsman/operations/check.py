"""Tries new code on every open case before a deploy: which cases would break, and which decisions would change?

It calls no step and writes nothing. It reads each case, migrates it, and decides. That is enough, because the next step depends
only on the fields of a case. The body of an entrypoint is run over the calls that its case records.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

from pointsman.definition.effects import Compensation, Effect
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Compensate, Park, Tasks
from pointsman.errors import ValueRefused, VersionNotAccepted
from pointsman.kernel.case import UNKNOWN, Case, loaded_case
from pointsman.kernel.codec import digest_of, message_of
from pointsman.kernel.decide import Decision, is_chosen
from pointsman.kernel.effects import declared, effect_key, forgotten_reason, vanished, vanished_reason
from pointsman.kernel.evolve import standing_after
from pointsman.kernel.hiding import hiding, leaves
from pointsman.kernel.program import Description, program_of
from pointsman.kernel.rows import CaseRow, EffectRow, FieldRow
from pointsman.kernel.snapshot import Snapshot, Status
from pointsman.operations.redaction import private_fields, unredacted
from pointsman.runtime.registry import Registry
from pointsman.store.base import PrivateField, Reader

PAGE = 1_000  # cases in memory at once


class Verdict(StrEnum):
    """What the new code would do to a case, if it is not the same as before."""

    BLOCKED = "blocked"
    BROKEN = "broken"
    CHANGED = "changed"
    ASKED_AGAIN = "asked again"
    ANEW = "called anew"
    LEFT_OUT = "left out"
    FREED = "freed"


BREAKS = frozenset({Verdict.BLOCKED, Verdict.BROKEN})
OF_BODIES = frozenset({Verdict.ANEW, Verdict.LEFT_OUT})
"""What can only be found about entrypoints; a summary names it where it was found."""


class Kind(NamedTuple):
    """A finding that several cases share. `known` says whether they are already parked or blocked for this reason."""

    verdict: Verdict
    process: str
    version: int
    message: str
    known: bool = False


@dataclass(slots=True)
class Report:
    """The result of a check.

    `checked` counts the open cases by status. `unregistered` counts the open cases of processes that were not given, by
    name. `found` lists the cases of each finding.
    """

    checked: Counter[Status] = field(default_factory=Counter)
    unregistered: Counter[str] = field(default_factory=Counter)
    found: dict[Kind, list[int]] = field(default_factory=dict)

    @property
    def breaks(self) -> bool:
        """Whether the new code would break a case that is not broken already."""
        return any(kind.verdict in BREAKS and not kind.known for kind in self.found)

    @property
    def changes(self) -> bool:
        """Whether the new code would take another step for a case."""
        return any(kind.verdict is Verdict.CHANGED for kind in self.found)

    def count(self, verdict: Verdict) -> int:
        """The number of cases with this verdict, without those that are broken already."""
        return sum(len(cases) for kind, cases in self.found.items() if kind.verdict is verdict and not kind.known)

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "checked": dict(self.checked),
            "unregistered": dict(self.unregistered),
            "breaks": self.breaks,
            "changes": self.changes,
            "found": [{**kind._asdict(), "cases": cases} for kind, cases in sorted(self.found.items())],
        }


async def check_cases(reader: Reader, processes: Sequence[AnyProcess]) -> Report:
    """Try these processes on every open case, one page at a time, with or without a running engine.

    Raises StoreError, and DefinitionError if a version is given twice.
    """
    reader = unredacted(reader)
    registry = Registry(processes)
    private = private_fields([*await reader.private(), *(PrivateField(one.name, name) for one in processes for name in one.private)])
    report = Report()
    doubts: dict[int, list[EffectRow]] = {}
    for entry in await reader.in_doubt():
        doubts.setdefault(entry.case, []).append(entry)
    after = 0
    while page := await reader.open_cases(after=after, limit=PAGE):
        after = page[-1].id
        for row in page:
            if row.process not in registry.names:
                report.unregistered[row.process] += 1
                continue
            report.checked[row.status] += 1
            fields = await reader.fields(row.id)
            with hiding(partial(_private_texts, fields, private.get(row.process, frozenset()))):
                kind = await _check(reader, registry, row, fields, doubts.get(row.id, ()))
            if kind is not None:
                report.found.setdefault(kind, []).append(row.id)
    return report


def _private_texts(fields: Sequence[FieldRow], private: Collection[str]) -> Iterator[str]:
    for field_row in fields:
        if field_row.field in private:
            yield from leaves(json.loads(field_row.text))


async def _check(
    reader: Reader, registry: Registry, row: CaseRow, fields: Sequence[FieldRow], doubts: Sequence[EffectRow]
) -> Kind | None:  # fmt: skip
    try:
        process = registry.for_case(row.process, row.version)
        case = loaded_case(process, row, fields)
    except VersionNotAccepted as error:
        return _kind(row, Verdict.BLOCKED, str(error))
    except ValueRefused as error:
        return _kind(row, Verdict.BROKEN, f"its state cannot be read: {message_of(error)}")
    if row.status is Status.RUNNING:
        doubts = await reader.effects(row.id)  # the effects of a running case are not listed as in doubt
    described = program_of(process).describe(case.snapshot.cells)
    decision = described.decision
    if isinstance(decision.step, Park) and not is_chosen(process, decision.step):
        return _kind(row, Verdict.BROKEN, decision.step.reason)
    gone = next((entry for entry in doubts if vanished(process, entry)), None)
    if gone is not None:
        return _kind(row, Verdict.BLOCKED, vanished_reason(gone))
    if row.status is Status.BLOCKED:
        return _kind(row, Verdict.FREED, _named(decision.step.name, decision.rule))
    unknown = [entry for entry in doubts if entry.status in UNKNOWN]
    return (
        _forgets(process, case, decision, unknown, reader.incarnation) or _leaves(row, described) or await _changes(reader, case, decision)
    )


def _leaves(row: CaseRow, described: Description) -> Kind | None:
    """Whether a body does not use what its case records."""
    if described.anew:
        return _kind(row, Verdict.ANEW, f"{', '.join(described.anew)} would be called again, because the body gives other arguments")
    if described.left:
        problem = f"the body has not asked for {', '.join(described.left)}, which is recorded"
        return _kind(row, Verdict.LEFT_OUT, f"{problem}; if it returns without that, the case parks")
    return None


def _decided(case: Case, decision: Decision) -> Snapshot:
    """The case with what the decision writes: the effect of a body reads which call the body has asked for."""
    cells = case.snapshot.cells
    written = {name: standing_after(cells, name, cell) for name, cell in (decision.writes or {}).items()}
    return replace(case.snapshot, cells={**cells, **written})


def _forgets(process: AnyProcess, case: Case, decision: Decision, doubts: Sequence[EffectRow], incarnation: str) -> Kind | None:
    """Whether the decision would leave an effect in doubt behind, which parks the case. A parked case waits for its operator.

    An effect that is called now is in doubt for the next start, if its engine dies during the call. Without the `incarnation`, nobody knows.
    """
    row = case.row
    if row.status is Status.PARKED or isinstance(decision.step, Park) or not incarnation:
        return None
    key = None
    if isinstance(decision.step, Effect) and doubts:
        try:
            key, _ = effect_key(incarnation, process, _decided(case, decision), decision.step)
        except Exception as error:  # the author's function may raise anything
            return _kind(
                row,
                Verdict.BROKEN,
                f"the key of effect {decision.step.name!r} cannot be computed: {type(error).__name__}: {message_of(error)}",
            )
    undoes = isinstance(decision.step, Compensate)  # a compensation goes on with the call of its own that is in doubt
    others = (entry for entry in doubts if entry.key != key and not (undoes and isinstance(declared(process, entry), Compensation)))
    left = next(others, None)
    return None if left is None else _kind(row, Verdict.BROKEN, forgotten_reason(left.key, decision.step.name))


async def _changes(reader: Reader, case: Case, decision: Decision) -> Kind | None:
    row = case.row
    if decision.step.name != row.step:
        message = f"{_named(row.step or '?', row.rule)} -> {_named(_next_of(decision), decision.rule)}"
        return _kind(row, Verdict.CHANGED, message)
    shows = getattr(decision.step, "shows", None)
    if row.status is not Status.WAITING or shows is None:
        return None
    pause = await reader.pause(row.id)
    if pause is None or pause.closed is not None or pause.digest == digest_of(_decided(case, decision).cells, shows):
        return None
    return _kind(row, Verdict.ASKED_AGAIN, f"{decision.step.name} would show something different")


def _next_of(decision: Decision) -> str:
    """The step, or the tasks that a body calls."""
    step = decision.step
    return ", ".join(dict.fromkeys(call.node.name for call in step.calls)) if isinstance(step, Tasks) else step.name


def _named(step: str, rule: str | None) -> str:
    return f"{step} ({rule!r})" if rule else step


def _kind(row: CaseRow, verdict: Verdict, message: str) -> Kind:
    known = row.status in {Status.PARKED, Status.BLOCKED} and row.reason == message
    return Kind(verdict, row.process, row.version, message, known)


def summary(report: Report) -> Mapping[str, int]:
    """The number of cases that were checked, and the number for each verdict."""
    counts = {verdict: report.count(verdict) for verdict in Verdict}
    return {
        "checked": report.checked.total(),
        **{verdict.value: count for verdict, count in counts.items() if count or verdict not in OF_BODIES},
    }
