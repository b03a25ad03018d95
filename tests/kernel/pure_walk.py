"""Cases walked through the machine alone: no store, no event loop, no clock. What happens to them is decided by a seed.

A walk is one case from its start until it rests for good. Engines crash between any two things that they do, calls fail, hang
or are lost on their way, people answer, messages and cancels come in between. An oracle outside the machine counts the calls
that arrive. What is durable is one value, the case; a crash drops everything else.
"""

import json
import random
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).parents[1] / "simulation"))

from trades import Approval, processes
from ways import DEPLOYS, ENDS, GOALS, WAY, Word
from world import CALL_SECONDS, KEY_TTL_SECONDS, SETTLE_SECONDS

from pointsman import AtLeastOnce, AtMostOnce, Idempotent, ModelResponse, NotSent, Process, Reconcile, Rejected, Usage
from pointsman.definition.children import Child
from pointsman.definition.effects import ABSENT, AnyEffect, Effect, Found
from pointsman.definition.nodes import AnyNode, Node
from pointsman.definition.pauses import Pause
from pointsman.definition.rules import Each, Parallel, parallel
from pointsman.definition.transactions import Transaction
from pointsman.kernel import commands, happenings
from pointsman.kernel.attempts import CallEnd, progress_in
from pointsman.kernel.case import Case, History, PastIntent, new_case
from pointsman.kernel.codec import codec_of
from pointsman.kernel.effects import vanished
from pointsman.kernel.guarding import BEGINNING, progress_of
from pointsman.kernel.joins import BranchEnd, Branches, branch_ended
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.machine import NEXT, Plan, Refusal, advance
from pointsman.kernel.messages import CHILD_ENDED, PARENT_ENDED
from pointsman.kernel.moment import Moment, Offer
from pointsman.kernel.program import program_of
from pointsman.kernel.rows import FieldRow, Intent, MessageRow, MessageStatus, NewCase, Transition
from pointsman.kernel.snapshot import ENDED, Status

TURNS_MAX = 3_000  # far beyond what a case takes with everything that can come to it
COMING_MAX = 6  # messages, cancels and redrives of one walk, so that it ends
PROCESSES = [*processes(), WAY]


class Crash(Exception):
    """The engine is gone."""


class Walk:
    """One case, and the world around it."""

    def __init__(self, seed: int, process: Process[Any] | None = None, chance: random.Random | None = None) -> None:
        self.chance = random.Random(seed) if chance is None else chance
        self.process: Process[Any] = PROCESSES[seed % len(PROCESSES)] if process is None else process
        self.program = program_of(self.process)
        self.codec = codec_of(self.process.state)
        self.now = 1_000.0
        self.pending: list[MessageRow] = []
        self.ends: dict[int, dict[str, FieldRow]] = {}
        self.intents: dict[str, PastIntent] = {}
        self.told: dict[str, set[str]] = {}
        self.child: tuple[int, str] | None = None
        self.coming = COMING_MAX
        self.todo: tuple[commands.Command, ...] = ()
        self.messages = 0
        self.crashes = self.refused = 0
        self.tries = False
        self.violations: list[str] = []
        self.seen: set[tuple[str, Status, Status]] = set()
        self.arrived: dict[str, list[float]] = {}  # for each key when its calls change the world
        self.begun: Counter[str] = Counter()
        self.first_intent: dict[str, float] = {}
        new = NewCase(self.process.name, self.process.version, None)
        self.case: Case = new_case(1, new, self.now, "walk")
        self._ask(self.case, happenings.StartAsked(new, self._inputs()))

    # The machine and the commit.

    def _ask(self, case: Case, happening: Any, *, cancel: bool = False, cancelled: bool = False) -> tuple[commands.Command, ...]:
        """What the runtime does: ask, commit, and ask again where a message has come meanwhile."""
        while True:
            offer = self._offer(happening, cancels=cancelled or (cancel and self._comes(0.01)))
            plan = advance(self.program, case, happening, self.now, self.chance, offer)
            if isinstance(plan, Refusal) and isinstance(happening, happenings.Redriven):
                return ()  # a cancel has come meanwhile
            if isinstance(plan, Refusal):
                raise AssertionError(f"refused: {plan.reason}")  # noqa: TRY004 - it is the machine that refuses
            if plan.transition is None:
                return plan.commands
            self._may_crash()
            if self._commits(case, plan, type(happening)):
                self.todo = plan.commands
                self._may_crash()
                return plan.commands
            case = case.having(tuple(self.pending), self.ends)

    def _offer(self, happening: Any, *, cancels: bool) -> Offer:
        looks = isinstance(happening, happenings.Claimed) and self.case.row.status is Status.READY
        return Offer(self.chance.random() < 0.95 and not looks, self._shut, self._cancel() if cancels else None)

    def _commits(self, case: Case, plan: Plan, kind: type) -> bool:
        t = plan.transition
        assert t is not None
        if case.row.status is not Status.RUNNING and self._comes(0.05):
            self._message()
        if t.inbox is not None and t.inbox < len(self.pending):
            return False
        if t.status not in NEXT[kind][case.row.status]:
            self.violations.append(f"table: {kind.__name__} leads from {case.row.status} to {t.status}")
        self.seen.add((kind.__name__, case.row.status, t.status))
        taken = dict(t.takes)
        self.pending = [message for message in self.pending if message.id not in taken]
        self._look_at(t, plan)
        self.case = plan.case
        return True

    def _look_at(self, t: Transition, plan: Plan) -> None:
        """Note what the past is read for, and what no transition may do."""
        if t.intent is not None:
            before = self.case.ledger.get(t.intent.key)
            if before is not None and before.status is EffectStatus.DONE:
                self.violations.append(f"duplicated: {t.intent.effect} is done, and is intended again")
            self.first_intent.setdefault(t.intent.key, self.now)
            fields = tuple(FieldRow(name, cell.text, cell.writer, 0) for name, cell in plan.case.snapshot.cells.items())
            self.intents.setdefault(t.intent.key, PastIntent(len(self.intents), self.process.version, fields))
        for event in t.events:
            if event.kind == "effect.settled":
                facts = json.loads(event.facts)
                self.told.setdefault(facts["key"], set()).update(facts["fields"])
        if t.settlement is not None and t.settlement.status is EffectStatus.NOT_SENT and self.arrived.get(t.settlement.key):
            self.violations.append("lost: a call is recorded as not sent, and has happened")
        if t.status is Status.PARKED and not t.reason:
            self.violations.append("lost: a case is parked without a reason")
        if t.wake_at is not None and t.status not in {Status.READY, Status.WAITING}:
            self.violations.append(f"stranded: a case that is {t.status} has a timer")
        if t.status in {Status.WAITING, Status.DONE} and plan.case.unsettled:
            self.violations.append(f"lost: a case that is {t.status} has an effect in doubt")

    def _may_crash(self) -> None:
        if self.chance.random() < 0.02:
            raise Crash

    # The life of the case.

    def run(self) -> Self:
        """Live until the case rests for good."""
        for _ in range(TURNS_MAX):
            try:
                if not self._turn():
                    return self
            except Crash:
                self.crashes += 1
                if self.case.row.status is Status.RUNNING:
                    self._become(Status.READY, self.now)
        self.violations.append(f"stuck: {self.case.row.status} at {self.case.row.step!r} after {TURNS_MAX} turns")
        return self

    def _turn(self) -> bool:
        """Let the next thing happen; False when nothing will."""
        row = self.case.row
        if self.tries:
            self.try_anything()
        if row.status is not Status.RUNNING and self._comes(0.1):
            self._comes_from_outside()
            return True
        if row.status in ENDED:
            return False
        if self.process in DEPLOYS and row.status is not Status.RUNNING and self._comes(0.1):
            self._deploy(self.chance.choice(DEPLOYS))
            if row.status is Status.WAITING:  # somebody looks at what the pause shows now
                self._ask(self._loaded(), happenings.Reconsidered())
                return True
        if row.status is Status.BLOCKED:
            if any(vanished(self.process, entry) for entry in self.case.ledger.values()):
                self._deploy(WAY)
            self._ask(self._loaded(), happenings.AcceptedHere(self.process.version))
            return True
        if row.status is Status.PARKED:
            return self._operated()
        if row.status is Status.WAITING:
            self._waited()
            return True
        if row.status is Status.READY and row.wake_at is not None:
            self.now = max(self.now, row.wake_at)
        if self._comes(0.05):
            self._message()
        if row.status is not Status.RUNNING:
            self._become(Status.RUNNING, None, claims=True)
            if self._comes(0.01):
                odd = (happenings.CannotGoOn("it cannot be read"), happenings.NotAcceptedHere("its code is elsewhere"))
                self._ask(self._loaded(), self.chance.choice(odd))
                return True
            todo = self._ask(self._loaded(), happenings.Claimed(), cancel=True)
        else:
            todo = self.todo  # it was started, answered or moved by an operator, and goes on here
        while todo and not isinstance(todo[0], commands.Rest):
            if self.tries:
                self.try_anything()
            called_off = self._calls_off(todo[0])
            happening = self._called_off(todo[0]) if called_off else self._perform(todo[0])
            todo = self._ask(self.case.having(self.case.messages, self.ends), happening, cancel=True, cancelled=called_off)
        return True

    def _comes_from_outside(self) -> None:
        """People, operators and other code come to a case that nobody has in hand."""
        case, status = self._loaded(), self.case.row.status
        if case.unsettled and status is not Status.WAITING and self.chance.random() < 0.5:
            self._resolve(case)
            return
        many: dict[Status, list[Any]] = {
            Status.READY: [
                happenings.CancelAsked("anna", "enough"),
                happenings.NotAcceptedHere("its code is elsewhere"),
                happenings.Claimed(),
            ],
            Status.WAITING: [
                happenings.CancelAsked("anna", "enough"),
                happenings.NotAcceptedHere("its code is elsewhere"),
                happenings.Reconsidered(),
            ],
            Status.PARKED: [happenings.CancelAsked("anna", "enough"), self._redriven()],
            Status.BLOCKED: [happenings.CancelAsked("anna", "enough")],
        }
        self._ask(case, self.chance.choice(many.get(status, [happenings.EraseAsked("anna", "asked to")])))

    def _redriven(self) -> Any:
        """An operator corrects an input, or nothing."""
        corrections = {"then": self.chance.choice(GOALS), "what": "b", "who": "v", "lines": [1] * self.chance.randint(0, 4)}
        fields = [name for name in corrections if name in self.process.state.model_fields]
        return happenings.Redriven("anna", "again", {name: corrections[name] for name in fields if self.chance.random() < 0.5})

    def _deploy(self, process: Process[Any]) -> None:
        """Other code takes the case up from here on."""
        self.process, self.program = process, program_of(process)

    def _become(self, status: Status, wake_at: float | None, *, claims: bool = False) -> None:
        row = self.case.row
        self.case = replace(
            self.case, row=row._replace(status=status, wake_at=wake_at, fence=row.fence + claims, attempts=row.attempts + claims)
        )

    def _loaded(self) -> Case:
        """The case as a claim or a call from outside loads it."""
        return self.case.having(tuple(self.pending), self.ends)

    def _waited(self) -> None:
        row, step = self.case.row, self.process.steps.get(self.case.row.step or "")
        if self.child is not None and self.chance.random() < 0.5:
            self._child_ends()
        elif isinstance(step, Pause) and self.chance.random() < 0.6:
            self._answer(step)
        elif row.wake_at is not None:
            self.now = max(self.now, row.wake_at)
            self._become(Status.READY, self.now)
        elif self._comes(0.3):
            self._message()

    def _answer(self, pause: Pause) -> None:
        case = self._loaded()
        if case.messages:  # the engine takes them in first
            self._become(Status.READY, self.now)
            return
        verdict = self.chance.choice(["yes", "yes", "no"] + ["redo"] * (self.coming > 0))
        self.coming -= verdict == "redo"
        said: Any = Word(goal=self.chance.choice(GOALS))
        if pause.answer is Approval:
            said = Approval(verdict=verdict, by="anna", seen=str(self.codec.value(case.snapshot.cells, "draft")))
        cells = {pause.writes[0]: self.codec.write(pause.writes[0], said, pause.name)}
        self._ask(case, happenings.Answered(pause.name, "anna", cells))

    def _operated(self) -> bool:
        """What an operator does about a parked case: resolve the effect in doubt, or redrive the case."""
        case = self._loaded()
        if case.unsettled:
            self._resolve(case)
            return True
        if not self._comes(1.0):
            return False
        self._ask(case, self._redriven())
        return True

    def _resolve(self, case: Case) -> None:
        key = min(case.unsettled)
        if vanished(self.process, case.ledger[key]):
            self._deploy(WAY)
        did = bool(self.arrived.get(key))
        effect = self.process.steps[case.ledger[key].effect]
        outcome = None if not did or not effect.writes else f"receipt of {key}"
        self.begun[key] *= did
        self._ask(case, happenings.Resolved(key, did, "anna", "looked", outcome))

    # What does not fit.

    def try_anything(self) -> None:
        """Give the machine a happening that may not fit the case as it stands: it answers with a plan or a refusal, and never raises."""
        happening = self._anything()
        answer = advance(self.program, self.case, happening, self.now, self.chance, Offer(place=self.chance.random() < 0.5))
        self.refused += isinstance(answer, Refusal)
        if isinstance(answer, Plan) and answer.transition is not None:
            allowed = NEXT[type(happening)][self.case.row.status]
            if answer.transition.status not in allowed:
                self.violations.append(f"table: {type(happening).__name__} leads to {answer.transition.status}")

    def _anything(self) -> Any:
        steps = list(self.process.steps.values())
        step: Any = self.chance.choice(steps)
        nodes: list[Any] = [one for one in steps if type(one) is Node]
        effects: list[Any] = [one for one in steps if isinstance(one, Effect)]
        key = self.chance.choice([*self.case.ledger, "unknown"])
        cells = self.case.snapshot.cells
        many: list[Any] = [
            happenings.Claimed(), happenings.CancelAsked("a", "b"), happenings.Redriven("a", "b", {}), happenings.EraseAsked("a", "b"),
            happenings.Resolved(key, self.chance.random() < 0.5, "a", "b", "c"), happenings.Reconsidered(), happenings.NotAcceptedHere("no"),
            happenings.AcceptedHere(2), happenings.Continued(step), happenings.BranchesEnded(parallel(), (), calling=False), happenings.CancelledBeforeCall(),
            happenings.CannotGoOn("it cannot be read"), happenings.Answered(step.name, "a", {}),
            happenings.Assigned(step.name, "c", "a", "b"),
            happenings.Redriven("a", "b", {self.chance.choice(["who", "message", "nothing"]): 1}),
        ]  # fmt: skip
        if nodes:
            call = commands.CallNode(self.chance.choice(nodes), 1, BEGINNING)
            many += [happenings.NodeEnded(call, CallEnd(error=ValueError("odd"))), happenings.PermitRefused(call, None)]
        if effects:
            effect = self.chance.choice(effects)
            intent = Intent(key, effect.name, "", self.now, again=False)
            call = commands.CallEffect(effect, intent, cells, 1)
            wanted = commands.Acquire(effect, cells)
            many += [
                happenings.EffectEnded(call, CallEnd("r")), happenings.Acquired(wanted), happenings.PermitRefused(wanted, None),
                happenings.LookedUp(commands.LookUpEffect(effect, key, cells, 1), ABSENT), happenings.CancelledBeforeCall(call),
            ]  # fmt: skip
        many += [happenings.ChildRefused(one, "no") for one in steps if isinstance(one, Child)]
        many += [happenings.TransactionEnded(one, CallEnd(1)) for one in steps if isinstance(one, Transaction)]
        many += [happenings.BranchesRested(Branches(self.process, self.case, rule.step), ()) for rule in self.process.ordered_rules
                 if isinstance(rule.step, Parallel) and not isinstance(rule.step, Each)]  # fmt: skip
        return self.chance.choice(many)

    # What comes from outside.

    def _comes(self, probability: float) -> bool:
        if self.coming <= 0 or self.chance.random() >= probability:
            return False
        self.coming -= 1
        return True

    def _cancel(self) -> Any:
        return happenings.Event("cancelled", facts={"by": "anna", "why": "enough"})

    def _shut(self, limit: str) -> str | None:
        return f"{limit} is busy" if self.chance.random() < 0.1 else None

    def _inputs(self) -> dict[str, Any]:
        given: dict[str, Any] = {
            "message": {"thread": "t", "number": 0}, "what": "a", "lines": [1] * self.chance.randint(0, 4), "who": "w",
            "step": self.chance.choice([*ENDS]), "then": self.chance.choice(GOALS),
        }  # fmt: skip
        state = self.process.state.model_validate({name: given[name] for name in given if name in self.process.state.model_fields})
        return {name: self.codec.encode(name, getattr(state, name), "") for name in given if name in self.process.state.model_fields}

    def _message(self) -> None:
        accepts = [one for one in self.process.accepts_messages.values() if one.while_open != "hold"]
        if self.chance.random() < 0.05:
            self.messages += 1
            self._deliver(PARENT_ENDED, json.dumps({"by": "case 7", "why": "enough"}))
            return
        if not accepts:
            return
        accept = self.chance.choice(accepts)
        self.messages += 1
        mail = {"thread": "t", "number": self.chance.randint(0, self.messages)}
        self._deliver(accept.name, json.dumps({"goal": self.chance.choice(GOALS)} if accept.message is Word else mail))

    def _deliver(self, name: str, body: str) -> None:
        number = len(self.told) + self.messages + 1_000 * len(self.ends)
        self.pending.append(MessageRow(number, self.process.name, name, None, "t", 1, MessageStatus.PENDING, body, self.now))
        if self.case.row.status in {Status.WAITING, Status.PARKED}:
            self._become(Status.READY, self.now)

    def _child_ends(self) -> None:
        assert self.child is not None
        number, key = self.child
        self.child = None
        self.ends[number] = {"label": FieldRow("label", '"label of t.0"', "name", 1)}
        self._deliver(CHILD_ENDED, json.dumps({"key": key, "case": number, "status": "done", "outcome": "run"}))

    # Commands.

    def _perform(self, command: Any) -> Any:
        self._may_crash()
        match command:
            case commands.CallNode(node=node):
                if node.limit is not None and self.chance.random() < 0.1:
                    return happenings.PermitRefused(command, "busy")
                return happenings.NodeEnded(command, self._node_end(node))
            case commands.RunBranches(step=step):
                return self._branches(step)
            case commands.RunTransaction(node=node):
                failed = self.chance.random() < 0.1
                return happenings.TransactionEnded(node, CallEnd(error=RuntimeError("full")) if failed else CallEnd(7))
            case commands.Continue(step=step):
                return happenings.Continued(step)
            case commands.Acquire(effect=effect):
                busy = effect.limit is not None and self.chance.random() < 0.1
                return happenings.PermitRefused(command, "busy") if busy else happenings.Acquired(command)
            case commands.CallEffect():
                return happenings.EffectEnded(command, self._call(command))
            case commands.LookUpEffect():
                return self._look_up(command)
            case commands.StartChild(child=child, key=key):
                if self.chance.random() < 0.05:
                    return happenings.ChildRefused(child, "its inputs do not fit")
                number = 100 + len(self.ends)
                self.child = (number, key)
                row = self.case.row._replace(id=number, process="errand", key=key, status=Status.READY)
                return happenings.ChildStarted(child, row, end_pending=False, fields={})
            case commands.LoadHistory():
                told = {key: frozenset(names) for key, names in self.told.items()}
                self.case = replace(self.case, history=History(self.intents, told))
                name = self.case.row.step or ""
                return happenings.Continued(self.process.compensates.get(name) or self.process.steps[name])
        raise AssertionError(command)

    def _calls_off(self, command: Any) -> bool:
        return self._comes(0.02)

    def _called_off(self, command: Any) -> Any:
        """A cancel came before the command was performed."""
        return happenings.CancelledBeforeCall(command if isinstance(command, commands.CallEffect) else None)

    def _node_end(self, node: AnyNode) -> CallEnd:
        happens = self.chance.random()
        if happens < 0.12:
            return CallEnd(error=RuntimeError("down"))
        if happens < 0.15:
            return CallEnd(error=TimeoutError())
        if happens < 0.18 and node.limit is not None:
            return CallEnd(error=RuntimeError("later"), refused=True, held_until=self.now + 5.0)
        return CallEnd(self._result(node.name))

    def _result(self, name: str) -> object:
        value = lambda field: self.codec.value(self.case.snapshot.cells, field)  # noqa: E731
        number = getattr(value("message"), "id", "a") if "message" in self.process.state.model_fields else "a"
        if name == "name":
            right = self.chance.random() < 0.6
            label = f"label of {value('what')}" if right else "something else"
            return ModelResponse(label, raw=label, model="m", usage=Usage(input_tokens=1, output_tokens=1))
        return {
            "find_left": f"left of {number}", "find_right": f"right of {number}", "write": f"{number}/", "rewrite": f"{number}/+",
            "check": f"checked {number}", "price": 10, "ask_fast": "fast", "ask_cheap": "cheap", "node": "it", "branches": "it",
            "other": "it", "work": "it", "by_hand": "it",
        }[name]  # fmt: skip

    def _branches(self, step: Any) -> Any:
        branches, under_way, ends = Branches(self.process, self.case, step), [], list[BranchEnd]()
        while branches.verdict is None:
            while (branch := branches.begin_next(self.now)) is not None:
                under_way.append(branch)
            if not under_way:
                break
            self._may_crash()
            branch = under_way.pop(self.chance.randrange(len(under_way)))
            at = Moment(self.program, self.case, self.now, self.chance, Offer(), self.process)
            end = branch_ended(at, branch, branches.rows[branch.name], self._node_end(branch.node))
            assert progress_of(branch.node.guard, None) == progress_in(self.case, branch.node)
            branches.end(branch, end)
            ends.append(end)
            if under_way and branches.verdict is None:
                self._ask(self.case, happenings.BranchesEnded(step, tuple(ends), calling=True))
                ends = []
        return happenings.BranchesRested(branches, tuple(ends))

    # Effects and their oracle.

    def _call(self, call: commands.CallEffect) -> CallEnd:
        key, effect = call.intent.key, call.effect
        entry = self.case.ledger.get(key)
        if entry is None or entry.status is not EffectStatus.INTENDED:
            self.violations.append(f"no intent: {effect.name} is called, and the ledger says {entry and entry.status}")
        self._allowed(effect, key)
        happens = self.chance.random()
        if happens < 0.1:
            return CallEnd(error=NotSent("no line"))
        if happens < 0.13:
            return CallEnd(error=Rejected("no"))
        self.begun[key] += 1
        if happens < 0.25:  # it is lost, or it arrives as late as the policy reckons with
            if self.chance.random() < 0.5:
                self._arrives(effect, key, self.now + self.chance.uniform(0.0, SETTLE_SECONDS))
            self.now += CALL_SECONDS
            if self.chance.random() < 0.5:
                raise Crash
            return CallEnd(error=TimeoutError())
        self._arrives(effect, key, self.now)
        self._may_crash()
        return CallEnd(None if not effect.writes else f"receipt of {key}")

    def _allowed(self, effect: AnyEffect, key: str) -> None:
        if isinstance(effect.safety, AtMostOnce) and self.begun[key]:
            self.violations.append(f"duplicated: {effect.name} is called again, and its policy forbids it")
        if isinstance(effect.safety, Idempotent) and self.now > self.first_intent[key] + KEY_TTL_SECONDS:
            self.violations.append(f"duplicated: {effect.name} is called when its receiver has forgotten the key")

    def _arrives(self, effect: AnyEffect, key: str, at: float) -> None:
        before = self.arrived.setdefault(key, [])
        if before and not isinstance(effect.safety, Idempotent | AtLeastOnce):
            self.violations.append(f"duplicated: {effect.name} has happened twice")
        before.append(at)

    def _look_up(self, asked: commands.LookUpEffect) -> Any:
        assert isinstance(asked.effect.safety, Reconcile)
        if self.chance.random() < 0.1:
            return happenings.LookedUp(asked, None, RuntimeError("down"))
        did = any(at <= self.now for at in self.arrived.get(asked.key, ()))
        return happenings.LookedUp(asked, Found(f"receipt of {asked.key}") if did else ABSENT)


def walk(seed: int, *, tries: bool = False) -> Walk:
    """Walk one case; what goes wrong in the machine is a violation like any other. With `tries` it is given what does not fit, too."""
    try:
        one = Walk(seed)
    except Crash:
        return walk(seed + (1 << 40), tries=tries)
    one.tries = tries
    try:
        return one.run()
    except Exception as error:
        one.violations.append(f"raised: {type(error).__name__}: {error}")
        return one
