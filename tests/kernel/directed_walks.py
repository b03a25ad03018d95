"""Walks in which nothing is left to chance: each happening of the table, in each status, led to each status that can follow.

The process does one step and then goes where it is told: by its inputs, by the answer of a person, by a message that comes while the
step runs, or by other code. So one loop over the places of a walk and over what can come there reaches all that the machine can do.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

from pure_walk import Walk
from ways import ENDS, GOALS, WAY, Way, Word, way

from pointsman import NotSent, Process, Rejected
from pointsman.definition.effects import ABSENT, UNKNOWN, Found
from pointsman.kernel import commands, happenings
from pointsman.kernel.attempts import CallEnd
from pointsman.kernel.case import Case
from pointsman.kernel.machine import Plan, Refusal, advance
from pointsman.kernel.messages import PARENT_ENDED
from pointsman.kernel.moment import Offer
from pointsman.kernel.program import program_of
from pointsman.kernel.rows import FieldRow, MessageRow, MessageStatus
from pointsman.kernel.snapshot import Status


class Nothing(random.Random):
    """No chance: nothing comes, nothing fails, and calls take no time."""

    def random(self) -> float:
        return 0.4

    def getrandbits(self, k: int, /) -> int:
        return 0


class Directed(Walk):
    """The walk of a case that begins with `step` and then goes where `then` says.

    At the question number `at` that the machine is asked, something `comes`: a word that says where to go, the cancel of a parent, or that
    of an operator; and from there on the engine has no `place` for two questions. `ends` are the odd ends of calls, in their order, and a
    person `answers` with where to go. An operator redrives the parked case with `corrections`, one after the other.
    """

    def __init__(
        self, step: str, then: str, *, at: int = 0, comes: str = "", place: bool = True, ends: tuple[str, ...] = (), answers: str = "finish",
        corrections: tuple[dict[str, str], ...] = (),
    ) -> None:  # fmt: skip
        self.inputs = {"step": step, "then": then}
        self.at, self.comes, self.place = at, comes, place
        self.odd, self.answers, self.corrections = [*ends], answers, [*corrections]
        self.asks = 0
        self.cases: list[Case] = []
        self.came: list[happenings.Happening] = []
        super().__init__(0, WAY, Nothing())
        self.coming = 0

    # What comes.

    def _inputs(self) -> dict[str, Any]:
        return {name: self.codec.encode(name, value, "") for name, value in self.inputs.items()}

    def _offer(self, happening: Any, *, cancels: bool) -> Offer:
        self.asks += 1
        self.came.append(happening)
        if self.asks == self.at and self.comes and self.comes != "cancel":
            self.pending.append(message(self.comes, number=self.asks))
        return Offer(self.place or not self.at <= self.asks < self.at + 2, cancel=self._cancel() if self._cancelled() else None)

    def _commits(self, case: Case, plan: Plan, kind: type) -> bool:
        commits = super()._commits(case, plan, kind)
        self.cases += [self.case] * commits
        return commits

    def _cancelled(self) -> bool:
        return self.comes == "cancel" and self.asks >= self.at

    def _calls_off(self, command: Any) -> bool:
        return self._cancelled() and not (isinstance(command, commands.CallEffect) and command.doubtful)

    def _answer(self, pause: Any) -> None:
        cells = {pause.writes[0]: self.codec.write(pause.writes[0], Word(goal=self.answers), pause.name)}
        self._ask(self._loaded(), happenings.Answered(pause.name, "anna", cells))

    def _operated(self) -> bool:
        if not self.corrections:
            return False
        self._ask(self._loaded(), happenings.Redriven("anna", "again", self.corrections.pop(0)))
        return True

    # How calls end.

    def _ends_oddly(self, *kinds: str) -> str:
        return self.odd.pop(0) if self.odd and self.odd[0] in kinds else ""

    def _perform(self, command: Any) -> Any:
        match command:
            case commands.CallNode(node=step) | commands.Acquire(effect=step) if step.limit is not None and self._ends_oddly("busy"):
                return happenings.PermitRefused(command, "busy")
            case commands.Acquire():
                return happenings.Acquired(command)
            case commands.CallNode(node=node):
                return happenings.NodeEnded(command, self._node_end(node))
            case commands.RunTransaction(node=node):
                return happenings.TransactionEnded(node, self._node_end(node))
            case commands.StartChild(child=child, key=key):
                return self._child(child, key)
        return super()._perform(command)

    def _node_end(self, node: Any) -> CallEnd:
        if self._ends_oddly("raises"):
            return CallEnd(error=RuntimeError("down"))
        if node.limit is not None and self._ends_oddly("refused"):
            return CallEnd(error=RuntimeError("later"), refused=True, held_until=self.now + 5.0)
        return CallEnd(1 if node.name == "transaction" else "it")

    def _child(self, child: Any, key: str) -> Any:
        odd = self._ends_oddly("refused", "known", "without result")
        row = self.case.row._replace(id=100, process="errand", key=key, status=Status.DONE if odd else Status.READY, outcome="run")
        if odd == "refused":
            return happenings.ChildRefused(child, "its inputs do not fit")
        self.child = None if odd else (100, key)
        fields = {"label": FieldRow("label", '"it"', "", 1)} if odd == "known" else {}
        return happenings.ChildStarted(child, row, end_pending=False, fields=fields)

    def _call(self, call: commands.CallEffect) -> CallEnd:
        self._allowed(call.effect, call.intent.key)
        match self._ends_oddly("lost", "late", "not sent", "rejected"):
            case "lost":
                return CallEnd(error=TimeoutError())
            case "late":
                self._arrives(call.effect, call.intent.key, self.now)
                return CallEnd(error=TimeoutError())
            case "not sent":
                return CallEnd(error=NotSent("no line"))
            case "rejected":
                return CallEnd(error=Rejected("no"))
        self._arrives(call.effect, call.intent.key, self.now)
        return CallEnd("it" if call.effect.writes else None)

    def _look_up(self, asked: commands.LookUpEffect) -> Any:
        if self._ends_oddly("unknown"):
            return happenings.LookedUp(asked, UNKNOWN)
        return happenings.LookedUp(asked, Found("it" if asked.effect.writes else None) if self.arrived.get(asked.key) else ABSENT)


def message(says: str, number: int = 1) -> MessageRow:
    """A message that says where to go, or with "called off" the cancel of a parent."""
    off = says == "called off"
    name, body = (PARENT_ENDED, {"by": "case 7", "why": "enough"}) if off else ("word", {"goal": says})
    return MessageRow(number, "way", name, None, "t", 1, MessageStatus.PENDING, json.dumps(body), 1_000.0)


# What comes to a case while a step runs.

COMES = (*GOALS, "called off", "cancel")
AND_BACK = ({"step": "node"}, {"step": "loose"})
"""Corrections after which an effect is chosen that is done already under its key."""


def walks() -> Iterator[Directed]:
    """Each step with each end of its calls, and at each place of its walk each thing that can come."""
    for step, odd in [(step, odd) for step, many in ENDS.items() for odd in many]:
        for then in GOALS:
            yield from _places(step, then, COMES if then in {"finish", "undo"} else (), ends=odd)
    for goal in GOALS:
        yield from _places("", "ask", answers=goal)
        yield from _places("loose", "park", corrections=(*AND_BACK[:-1], AND_BACK[-1] | {"then": goal}))


def _places(step: str, then: str, comes: tuple[str, ...] = (), **more: Any) -> Iterator[Directed]:
    plain = Directed(step, then, **more)
    yield plain.run()
    for at in range(1, plain.asks + 1):
        yield Directed(step, then, at=at, place=False, **more).run()
        yield from (Directed(step, then, at=at, comes=one, place=place, **more).run() for one, place in product(comes, (True, False)))


# What comes to a case from outside.


class Come(NamedTuple):
    """Something that comes to a case, and the code that takes it in."""

    case: Case
    happening: happenings.Happening
    process: Process[Way] = WAY
    place: bool = True
    cancel: bool = False


def _found(walk: Directed, status: Status, *, doubt: bool = False) -> Case:
    """The first case of a walk that has this status, with or without an effect in doubt."""
    return next(case for case in walk.run().cases if case.row.status is status and bool(case.unsettled) == doubt)


def comings() -> Iterator[Come]:
    """What people, operators and other code do to a case."""
    waiting, parked = _found(Directed("", "ask"), Status.WAITING), _found(Directed("", "park"), Status.PARKED)
    done = _found(Directed("loose", "finish", ends=("rejected",)), Status.DONE)
    ready = _found(Directed("effect", "finish", ends=("lost",)), Status.READY, doubt=True)
    stuck = _found(Directed("effect", "finish", ends=("lost", "unknown")), Status.PARKED, doubt=True)
    running = [replace(case, row=case.row._replace(status=Status.RUNNING)) for case in (ready, waiting)]
    for one in (ready, waiting, *running):
        yield Come(one, happenings.NotAcceptedHere("its code is elsewhere"))
    blocked = after(Come(ready, happenings.NotAcceptedHere("its code is elsewhere")))
    yield Come(blocked, happenings.AcceptedHere(1))
    yield from (Come(one, happenings.CancelAsked("anna", "enough")) for one in (ready, waiting, parked, blocked))
    yield Come(waiting, happenings.Assigned("answer", "lead", "anna", "too large for me"))
    yield from (Come(one, happenings.CannotGoOn("it cannot be read")) for one in running)
    cancelled = after(Come(ready, happenings.CancelAsked("anna", "enough")))
    yield from (Come(one, happenings.EraseAsked("anna", "asked to")) for one in (done, cancelled))
    yield from (Come(one, resolved(one)) for one in (done, cancelled))
    yield from (Come(one, happenings.Redriven("anna", "again", {})) for one in (parked, stuck))
    for goal, place in product((*GOALS, "called off"), (True, False)):
        told = (message(goal),)
        yield Come(waiting, happenings.Reconsidered(), way(forced=goal), place)
        yield from (Come(one, happenings.Redriven("anna", "again", {"then": goal}), WAY, place) for one in (parked, waiting))
        yield from (Come(one.having(told), resolved(one), WAY, place) for one in (ready, stuck, blocked))
        yield Come(replace(waiting, row=waiting.row._replace(status=Status.READY)).having(told), happenings.Claimed(), WAY, place=False)
    yield from _vanished(ready)


def _vanished(ready: Case) -> Iterator[Come]:
    """What newer code does, which no longer has an effect in doubt."""
    less = way(without_effect=True)
    yield from (
        Come(replace(ready, row=ready.row._replace(status=one)), happenings.Claimed(), less, place=False)
        for one in (Status.READY, Status.RUNNING)
    )
    # An earlier effect was rejected, and may yet be resolved as one that happened.
    two = _found(Directed("loose", "send", ends=("rejected", "lost", "unknown")), Status.READY, doubt=True)
    parked = replace(two, row=two.row._replace(status=Status.PARKED))
    yield Come(parked, happenings.Redriven("anna", "again", {"then": "finish"}), less)
    for case in (two, parked, after(Come(two, happenings.NotAcceptedHere("its code is elsewhere")))):
        yield Come(case.having((message("work"),)), resolved(case, of="loose"), less)


def resolved(case: Case, of: str = "") -> happenings.Resolved:
    """Somebody says that the effect has happened."""
    key = next(key for key, entry in case.ledger.items() if of in {"", entry.effect})
    return happenings.Resolved(key, happened=True, by="anna", why="looked", outcome="it")


def after(come: Come) -> Case:
    """The case afterwards."""
    plan = asked(come)
    assert isinstance(plan, Plan)
    return plan.case


def asked(come: Come) -> Plan | Refusal:
    """What the machine says."""
    cancel = happenings.Event("cancelled", facts={"by": "anna", "why": "enough"}) if come.cancel else None
    return advance(program_of(come.process), come.case, come.happening, 2_000.0, Nothing(), Offer(come.place, cancel=cancel))
