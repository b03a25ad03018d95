"""Explains a case: why it is where it is, and what the engine would do next. It calls no step."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pointsman.definition.children import Child
from pointsman.definition.counts import format_count
from pointsman.definition.fingerprint import SHORT
from pointsman.definition.pauses import Pause, Sleep
from pointsman.definition.process import AnyProcess
from pointsman.errors import UnknownProcess, ValueRefused, VersionNotAccepted
from pointsman.kernel import compensations
from pointsman.kernel.codec import codec_of
from pointsman.kernel.decide import Tried
from pointsman.kernel.explain import possible_next, tried_rules
from pointsman.kernel.limits import LimitState
from pointsman.kernel.migrate import migrate
from pointsman.kernel.program import Program, program_of
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import ENDED, Cell, Status
from pointsman.operations.around import NOTHING_AROUND, Around, around
from pointsman.operations.explanation_text import json_of, lines_of
from pointsman.operations.findings import Findings, RuleDescription, RuleStands
from pointsman.operations.hidden_findings import hide
from pointsman.operations.history import History, history_of
from pointsman.operations.ledger import ledger_of
from pointsman.operations.paragraph import Paragraph, paragraph_of
from pointsman.operations.redaction import Redacted
from pointsman.operations.times import format_time
from pointsman.runtime.registry import Registry
from pointsman.store.base import Reader


@dataclass(frozen=True, slots=True)
class Explanation(Findings):
    """The explanation of a case: what is found out about it, in words and as JSON."""

    def paragraph(self, now: float) -> Paragraph:
        """What to read first: where the case stands, what happens next, and what to type. `now` is in Unix seconds."""
        return paragraph_of(self, now)

    def lines(self, now: float, options: str = "", *, instead: Sequence[str] = ()) -> Iterator[str]:
        """The lines of a text for a person. `now` is in Unix seconds; each command to type gets the `options`.

        `instead` are commands of an application that stand in their place.
        """
        first = self.paragraph(now)
        commands = [*instead] if instead and first.commands else [f"{command}{options}" for command in first.commands]
        return lines_of(self, first.text, commands, now)

    def as_json(self, now: float) -> dict[str, Any]:
        """The same as plain JSON values. `now` is in Unix seconds."""
        return json_of(self, self.paragraph(now))


async def explain_case(reader: Reader, processes: Sequence[AnyProcess], case: int) -> Explanation:
    """Explain a case under the present code. `processes` are the versions of its process, and possibly other processes.

    If a definition that is not among them is the newest one on the database, an obstacle says so. Raises UnknownCase, UnknownProcess.
    """
    if isinstance(reader, Redacted):
        return await hide(await explain_case(reader.reader, processes, case), reader)
    history = await history_of(reader, case)
    process = explaining(processes, history)
    explanation = explain(process, history, await around(reader, process, history.case))
    seen = [definition for definition in await reader.definitions() if definition.process == process.name]
    last = max(seen, key=lambda definition: definition.seen_at, default=None)
    here = {given.fingerprint for given in processes if given.name == process.name}
    if last is None or not here.isdisjoint(definition.fingerprint for definition in seen if definition.seen_at == last.seen_at):
        return explanation
    this, other = f"this definition ({process.fingerprint[:SHORT]})", last.fingerprint[:SHORT]
    if process.fingerprint in {definition.fingerprint for definition in seen}:  # the store knows when each was opened first, not last
        note = f"a newer definition ({other}) than {this} has been opened on the database; if an engine uses that one"
    else:
        note = f"{this} has never been opened on the database; if an engine uses the newest one there ({other})"
    return replace(explanation, obstacles=(*explanation.obstacles, f"{note}, its rules and policies may differ from those shown here"))


def explaining(processes: Sequence[AnyProcess], history: History) -> AnyProcess:
    """The version of its process under which a case is explained. Raises UnknownProcess."""
    registry, row = Registry(processes), history.case
    if row.process not in registry.names:
        problem = f"case {row.id} is of process {row.process!r}, not of {' or '.join(map(repr, registry.names))}"
        raise UnknownProcess(f"{problem}; name its process with --app module:attribute.")
    return registry.accepting(row.process, row.version) or registry.for_start(row.process)


def explain(process: AnyProcess, history: History, beside: Around = NOTHING_AROUND) -> Explanation:
    """Explain a case under the present code, with what was read `beside` its history."""
    row = history.case
    if history.erased is not None:
        return _nothing_left(process, history, json.loads(history.erased.facts))
    obstacles: list[str] = [row.reason] if row.reason else []
    cells = cells_under(process, history, obstacles)
    stands_at = None if row.step is None else process.called(row.step)
    program = program_of(process)
    described = program.describe(cells)
    decision, begun = described.decision, compensations.begun(process, stands_at, history.effects)
    ledger = ledger_of(process, history, cells, chosen=decision.step, incarnation=beside.incarnation)
    rules = _placed(_rule(tried) for tried in tried_rules(process, cells))
    waits_at = _waits_at(program, row, cells, stands_at)
    following = _following(process, cells, waits_at, ledger.unsettled)
    if begun is not None:
        note = "next: a compensation that has begun is completed, whatever the rules choose by now"
        following = tuple(replace(rule, note=note) for rule in rules if rule.step == begun.name)
    elif row.status in {Status.WAITING, Status.READY} and decision.step.name != stands_at:
        chooses = f"rule {decision.rule!r} would choose" if rules else "the body would go on with"
        obstacles.append(f"under the present code {chooses} {decision.step.name} instead of {row.step}")
    obstacles += [f"under the present code {name} runs anew, because its arguments have changed" for name in described.anew]
    obstacles += [
        f"the body has not asked for {name}, which is recorded; if it returns without it, the case parks" for name in described.left
    ]
    if row.inbox and row.status not in ENDED:
        obstacles.append(f"in its inbox: {format_count(row.inbox, 'message')}, which may change what comes next")
    if row.needs is not None and row.status is Status.READY:
        obstacles += _limit(row, history.limit or LimitState())
    found = Explanation(
        history=history,
        description=described,
        rules=rules,
        following=() if row.status in ENDED else following,
        stands={} if described.calls else _stands(cells),
        ledger=ledger,
        obstacles=tuple(obstacles),
    )
    known = codec_of(process.state)
    unreadable = [field.field for field in history.fields if known.knows(field.field) and field.field not in cells]
    return replace(found, waits_at=waits_at, around=beside, unreadable=tuple(unreadable))


def cells_under(process: AnyProcess, history: History, obstacles: list[str]) -> dict[str, Cell]:
    """The fields of a case as the present code reads them; what it cannot read is added to the `obstacles`."""
    return _cells(process, _migrated(process, history, obstacles), obstacles)


def _waits_at(program: Program, row: CaseRow, cells: Mapping[str, Cell], stands_at: str | None) -> Pause | Sleep | Child | None:
    """The pause, the sleep or the child that the case waits at, if the present code has it."""
    if row.status is not Status.WAITING or stands_at is None:
        return None
    step = program.process.steps.get(stands_at)
    if isinstance(step, Pause | Sleep | Child):
        return step
    return program.pause(row.id, cells, stands_at) if step is None and not program.process.ordered_rules else None


def _placed(rules: Iterable[RuleDescription]) -> tuple[RuleDescription, ...]:
    """The rules, each with how it stands: exactly one wins."""
    placed: list[RuleDescription] = []
    won = False
    for rule in rules:
        wins = not won and rule.holds is not False
        stands: RuleStands = "wins" if wins else "fails" if not won else "would hold" if rule.holds else "not reached"
        placed.append(replace(rule, stands=stands))
        won = won or wins
    return tuple(placed)


def _following(
    process: AnyProcess, cells: Mapping[str, Cell], waits_at: Pause | Sleep | Child | None, unsettled: Mapping[str, str]
) -> tuple[RuleDescription, ...]:
    """The rules that can be chosen next.

    Likely are those that can be chosen when only what the case waits for is written, except for the rule that would wait for it again.
    """
    if waits_at is None or waits_at.name not in process.steps:
        return tuple(
            _rule(tried, certain=certain, note=unsettled.get(tried.rule.step.name)) for tried, certain in possible_next(process, cells, ())
        )
    probable = {tried.rule.name for tried, _ in possible_next(process, cells, waits_at.writes) if tried.rule.step is not waits_at}
    return tuple(
        _rule(tried, certain=certain, likely=tried.rule.name in probable, note=unsettled.get(tried.rule.step.name))
        for tried, certain in possible_next(process, cells, _open_fields(process, cells, waits_at))
    )


def _limit(row: CaseRow, limit: LimitState) -> Iterator[str]:
    """Why a case waits for a permit, as far as the store knows."""
    holders = [holder.split("/") for holder in sorted(limit.permits)]
    under_way = ", ".join(f"case {case} at {step!r}" for case, step, *_ in holders)
    yield f"it waits for a permit of {row.needs!r}; running calls: {under_way or 'none'}"
    if limit.held_until > row.updated_at:
        yield f"{row.needs!r} asked callers to wait until {format_time(limit.held_until)}"
    if limit.open_until:
        yield f"{row.needs!r} failed {format_count(limit.failures, 'time')} in a row; no call is made until {format_time(limit.open_until)}, and then one is tried"


def _nothing_left(process: AnyProcess, history: History, facts: Mapping[str, Any]) -> Explanation:
    """The explanation of an erased case; `facts` are those of the erasure."""
    note = f"its content was erased by {facts['by']} ({facts['why']}); its events still say what happened, when and by whom"
    return Explanation(history, None, (), (), {}, ledger_of(process, history, {}), (note,))


def _migrated(process: AnyProcess, history: History, obstacles: list[str]) -> Mapping[str, tuple[str, str]]:
    """The JSON and the writer of each field, after their migration to the present version."""
    row, texts = history.case, {field.field: (field.text, field.writer) for field in history.fields}
    if row.version == process.version:
        return texts
    try:
        Registry([process]).for_case(row.process, row.version)
        migrated = migrate(process, row.version, texts).fields
    except VersionNotAccepted as error:
        obstacles += [str(error)] if str(error) not in obstacles else []
    else:
        obstacles.append(f"version {row.version} wrote it; the next step migrates it to version {process.version}, as shown here")
        return migrated
    return texts


def _cells(process: AnyProcess, texts: Mapping[str, tuple[str, str]], obstacles: list[str]) -> dict[str, Cell]:
    codec = codec_of(process.state)
    cells: dict[str, Cell] = {}
    for name, (text, writer) in texts.items():
        if not codec.knows(name):
            continue
        try:
            cells[name] = codec.decode(name, text, process.called(writer))
        except ValueRefused as error:
            obstacles.append(str(error))
    return cells


def _open_fields(process: AnyProcess, cells: Mapping[str, Cell], step: Pause | Sleep | Child) -> frozenset[str]:
    """The fields that the end of a wait may change: those that it writes, or an answer edits, and everything that is computed from them."""
    open_fields = {*step.writes, *(step.edits if isinstance(step, Pause) else ())}
    while True:
        more = {
            name
            for name, cell in cells.items()
            if cell.writer in process.steps and not open_fields.isdisjoint(process.depends(process.steps[cell.writer]))
        }
        if more <= open_fields:
            return frozenset(open_fields)
        open_fields |= more


def _stands(cells: Mapping[str, Cell]) -> dict[str, tuple[str, ...]]:
    written: dict[str, tuple[str, ...]] = {}
    for name, cell in cells.items():
        if cell.writer:
            written[cell.writer] = (*written.get(cell.writer, ()), name)
    return written


def _rule(tried: Tried, *, certain: bool = True, likely: bool = True, note: str | None = None) -> RuleDescription:
    holds = None if tried.error else tried.holds
    rule = RuleDescription(tried.rule.name, tried.rule.step.name, holds, tried.reads, tried.error)
    return replace(rule, certain=certain, likely=likely, note=note)
