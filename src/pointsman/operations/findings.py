"""What is found out about a case: its rules, tried on its state, its effects, and what stops it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pointsman.definition.children import Child
from pointsman.definition.counts import format_count
from pointsman.definition.pauses import Pause, Sleep
from pointsman.definition.rules import TASKS, Step
from pointsman.kernel.decide import Decision
from pointsman.kernel.events import Kind
from pointsman.kernel.guarding import Progress
from pointsman.kernel.program import CallDescription, Description
from pointsman.kernel.rows import BranchRow, CaseRow
from pointsman.kernel.snapshot import Status
from pointsman.operations.around import NOTHING_AROUND, Around
from pointsman.operations.history import History
from pointsman.operations.ledger import Ledger

_AWAITS: Mapping[str, str] = {
    Kind.PAUSED: "the answer",
    Kind.SLEEPING: "the end of the sleep",
    Kind.CHILD_STARTED: "the end of the child",
}
TASKS_SHOWN = 5  # named in one line
SHOWN_MAX = 160  # characters of a value: two lines of a terminal

RuleStands = Literal["wins", "would hold", "fails", "not reached"]


@dataclass(frozen=True, slots=True)
class RuleDescription:
    """A rule and the present value of its condition. `holds` is None if the condition raised; `problem` then says what.

    The first rule that holds `stands` as "wins", one before it as "fails". Behind it, one that "would hold" loses to it, and the others are "not
    reached". Of what can follow, `certain` says whether it does not depend on what the case waits for, and `likely` is False for what only an
    edit of a shown field brings. `note` says what the engine would do with the effect of this rule, if the effect has a call without an outcome.
    """

    name: str
    step: str
    holds: bool | None
    reads: tuple[str, ...]
    problem: str | None
    stands: RuleStands = "wins"
    certain: bool = True
    likely: bool = True
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """What is found out about the case with this `history`.

    `description` is that of its program, or None if the case was erased. The rule that chose the present step read `reads`. `following` are the rules
    that can be chosen next: after the answer if the case waits for one, otherwise now. `stands` lists the steps whose results the engine would not
    compute again, with their fields. `ledger` says of each effect whether it would be called, has an outcome, or is in doubt. `obstacles` lists what
    stops the case, and `around` is what was read beside it. `waits_at` is the pause, the sleep or the child that the case waits at, and
    `unreadable` names the fields whose stored values the present code cannot read. The case of an
    entrypoint has no rules: `calls` are the calls of its body, `redrive` says what a redrive would do with them, and `fields_of_calls` are the fields
    that record them.
    """

    history: History
    description: Description | None
    rules: tuple[RuleDescription, ...]
    following: tuple[RuleDescription, ...]
    stands: Mapping[str, tuple[str, ...]]
    ledger: Ledger
    obstacles: tuple[str, ...]
    waits_at: Pause | Sleep | Child | None = None
    around: Around = NOTHING_AROUND
    unreadable: tuple[str, ...] = ()

    @property
    def effects(self) -> Mapping[str, str]:
        """How each effect stands, in words; of several calls of one, the last one."""
        return {call.name: call.text for call in self.ledger.calls}

    @property
    def rule(self) -> str:
        """The rule that the present code chooses by, or "" if none does."""
        return "" if self.decision is None else self.decision.rule

    @property
    def decision(self) -> Decision | None:
        """What the present code decides."""
        return None if self.description is None else self.description.decision

    @property
    def next_step(self) -> Step | None:
        """The step that the present code chooses."""
        return None if self.decision is None else self.decision.step

    @property
    def goes_on_with(self) -> str:
        """The name of that step; of a body, the calls that it waits for, or the body."""
        return self.stands_at if self.next_step is None or self.next_step.name == TASKS else self.next_step.name

    @property
    def likely(self) -> Mapping[str, Sequence[RuleDescription]]:
        """The steps that probably come next, each with its rules."""
        steps: dict[str, list[RuleDescription]] = {}
        for rule in self.following:
            if rule.likely:
                steps.setdefault(rule.step, []).append(rule)
        return steps

    @property
    def calls(self) -> Sequence[CallDescription]:
        """The calls of a body; a process with rules has none."""
        return () if self.description is None else self.description.calls

    @property
    def redrive(self) -> str:
        """What a redrive would do with the calls of a body that is parked."""
        return self.description.redrive if self.description is not None and self.case.status is Status.PARKED else ""

    @property
    def fields_of_calls(self) -> frozenset[str]:
        """The fields that record the calls of a body."""
        return frozenset() if self.description is None else self.description.fields

    @property
    def reads(self) -> Mapping[str, Any]:
        """What the decision read."""
        return (
            {}
            if self.description is None
            else {name: self.history.state.get(name) for name in _reads_of(self.history, self.description.decision)}
        )

    @property
    def case(self) -> CaseRow:
        """Where the case stands."""
        return self.history.case

    @property
    def stands_at(self) -> str:
        """The step that the case stands at; while a body waits for tasks, these tasks, or else the body."""
        if self.case.step != TASKS:
            return self.case.step or "?"
        waits_for = list(dict.fromkeys(call.name.partition("[")[0] for call in self.calls if call.how == "open" and call.kind == "task"))
        more = f" and {format_count(len(waits_for) - TASKS_SHOWN, 'more task')}" if len(waits_for) > TASKS_SHOWN else ""
        return ", ".join(waits_for[:TASKS_SHOWN]) + more or "its body"

    @property
    def awaits(self) -> str | None:
        """What a waiting case waits for: "the answer", "the end of the sleep" or "the end of the child"; None if it does not wait."""
        waits = self.case.status is Status.WAITING
        return next((_AWAITS[event.kind] for event in reversed(self.history.events) if event.kind in _AWAITS), None) if waits else None

    @property
    def branches(self) -> Mapping[str, str]:
        """How the branches of an unfinished step have ended, without the calls of a body whose outcome is recorded."""
        recorded = {call.call for call in self.calls if call.how != "open"}
        return {branch.name: _branch(branch) for branch in self.history.branches if branch.name not in recorded}


def short(value: object) -> str:
    """A value as text of at most two lines of a terminal."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"


def _reads_of(history: History, decision: Decision) -> tuple[str, ...]:
    """The fields that the recorded decision read, or, if none is recorded, those that the present code reads."""
    decided = [event for event in history.events if event.kind == "decided"]
    return tuple(json.loads(decided[-1].facts)["reads"]) if decided else decision.reads


def _branch(branch: BranchRow) -> str:
    if branch.outcome is not None:
        return "has succeeded; it would not run again"
    if branch.failure is not None:
        return f"has failed: {json.loads(branch.failure)['message']}; a redrive runs it again"
    asked = "it would run again" if branch.guard is None else _asks(Progress.model_validate_json(branch.guard))
    return f"has failed {format_count(branch.attempts, 'time')}; {asked}" if branch.wake_at is not None else f"has not ended; {asked}"


def _asks(progress: Progress) -> str:
    """The model that a guard asks next, and the reason."""
    if not progress.violations:
        return f"its model {progress.model} is asked afresh"
    found = "; ".join(f"{violation.check}: {violation.message}" for violation in progress.violations)
    return f"its model {progress.model} is asked for repair {progress.repair} ({found})"
