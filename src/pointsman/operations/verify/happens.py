"""What can happen to a case as it stands: how calls end, what people answer, which messages come, and when an engine dies."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations, product
from typing import Any, NamedTuple

from pointsman.definition.checks import inputs_of
from pointsman.definition.effects import ABSENT, UNKNOWN, Found
from pointsman.definition.pauses import Pause
from pointsman.definition.rules import Parallel, Quorum
from pointsman.errors import NotSent, Rejected
from pointsman.kernel import commands, happenings
from pointsman.kernel.attempts import CallEnd
from pointsman.kernel.case import Case, new_case
from pointsman.kernel.joins import Branches, branch_ended
from pointsman.kernel.moment import FULL_OFFER, Moment
from pointsman.kernel.program import Program
from pointsman.kernel.rows import MessageRow, MessageStatus, NewCase
from pointsman.kernel.snapshot import Cell, LogCell, Status
from pointsman.operations.verify.conditions import Way
from pointsman.operations.verify.outline import Recalled
from pointsman.operations.verify.twin import Twin, may_be_none

BEGUN_AT = 1_000.0  # any time: the rules know none
FAILED = RuntimeError("it failed")


class Move(NamedTuple):
    """Something that can happen: its text, the case that it comes to, the happening, and the time.

    `number` is that of the next token, and `comes` counts the message that it brings. A move is `plain` if nobody had to act and nothing
    failed, and `fails` if what follows is a failure's.
    """

    text: str
    case: Case
    happening: Any
    now: float
    number: int
    comes: int = 0
    plain: bool = False
    fails: bool = False


class Certain:
    """A source of chance for a machine in which nothing depends on it."""

    def random(self) -> float:
        """Always the same."""
        return 0.5

    def getrandbits(self, bits: int, /) -> int:  # noqa: ARG002 - the signature of `Chance`
        """Always the same."""
        return 1


class Standing(NamedTuple):
    """A case in the search: what an engine has to do, what is known about its values, and how it came there.

    `number` is that of the next token, and `messages` may still come. A search in outline knows what is `recalled`.
    """

    case: Case
    todo: commands.Command | None
    way: Way
    number: int
    messages: int
    move: Move
    before: "Standing | None" = None
    recalled: Recalled | None = None

    @property
    def rule(self) -> str:
        """The rule that was chosen."""
        return self.case.row.rule or ""


class World:
    """What can happen to the cases of a process."""

    def __init__(self, twin: Twin, program: Program) -> None:
        self.twin = twin
        self._program = program
        self._chance = Certain()

    def starts(self) -> Iterator[Move]:
        """The starts of a case: by each message that starts one or, if there is none, with any inputs."""
        process = self.twin.process
        new = NewCase(process.name, process.version, None)
        case = new_case(1, new, BEGUN_AT, "verify")
        openers: list[Any] = [accept for accept in process.accepts_messages.values() if accept.starts is not False]
        for accept in openers or [None]:
            cells: dict[str, Cell] = {}
            for name in sorted(inputs_of(process.state)):
                opens = accept is not None and name in accept.writes
                kind = self._kind(accept) if opens else process.state.model_fields[name].annotation
                if opens or name not in process.logs:
                    cells[name] = self.twin.codec.encode(name, self.twin.codec.token(name, "", kind, len(cells)), "")
            text = "a case is started" if accept is None else f"a message {accept.name!r} starts the case"
            yield Move(text, case, happenings.StartAsked(new, cells), BEGUN_AT, len(cells))

    def moves(self, at: Standing) -> Iterator[Move]:
        """Everything that can happen next."""
        case, status = at.case, at.case.row.status
        if status is Status.RUNNING:
            for move in self._done(at):
                yield move
                for message, number in self._messages(at, move.number):
                    text = f"{message.name!r} comes, then {move.text}"
                    yield move._replace(text=text, case=move.case.having((message,)), number=number, comes=1, plain=False)
        elif status is Status.READY:
            yield self._claim("", at, case, max(BEGUN_AT, case.row.wake_at or 0.0))
        elif status in {Status.WAITING, Status.PARKED}:
            yield from self._rests(at)

    def _rests(self, at: Standing) -> Iterator[Move]:
        case, status = at.case, at.case.row.status
        if not case.unsettled:
            for message, number in self._messages(at, at.number):
                yield self._claim(f"{message.name!r} comes", at, case.having((message,)), BEGUN_AT)._replace(number=number, comes=1)
        if status is Status.PARKED:
            yield from self._operated(at)
            return
        step = self.twin.process.steps.get(case.row.step or "")
        if isinstance(step, Pause):
            yield from self._answered(at, step)
            if step.expires_seconds is not None and case.pause is not None:
                yield self._claim(f"nobody answers {step.name!r} in time", at, case, case.pause.opened_at + step.expires_seconds)._replace(
                    fails=True
                )
        elif case.row.wake_at is not None:
            yield self._claim(f"{step.name if step else 'the timer'!r} is over", at, case, case.row.wake_at)

    def _operated(self, at: Standing) -> Iterator[Move]:
        for key in sorted(at.case.unsettled):
            effect = self.twin.process.steps[at.case.ledger[key].effect]
            for outcome, number in self._results(effect, at.number):
                yield self._move(
                    f"an operator finds that {effect.name} happened", at, happenings.Resolved(key, True, "-", "-", outcome)
                )._replace(number=number, fails=True)
            yield self._move(
                f"an operator finds that {effect.name} did not happen", at, happenings.Resolved(key, False, "-", "-")
            )._replace(fails=True)
        if not at.case.unsettled:
            yield self._move("an operator redrives the case", at, happenings.Redriven("-", "-", {}))._replace(fails=True)

    def _answered(self, at: Standing, pause: Pause) -> Iterator[Move]:
        [(field, kind)] = self.twin.returns(pause)
        cells = at.case.snapshot.cells
        sets: list[tuple[str, ...]] = [(), *((name,) for name in pause.edits if not isinstance(cells.get(name), LogCell))]
        for edits in sets:
            answer, number = dict[str, Cell](), at.number
            for name in (field, *edits):
                written = kind if name == field else self.twin.edited(name)
                answer[name] = self.twin.codec.write(name, self.twin.codec.token(name, pause.name, written, number), pause.name)
                number += 1
            text = f"a person answers {pause.name!r}" + (f" and edits {edits[0]}" if edits else "")
            yield self._move(text, at, happenings.Answered(pause.name, "-", answer))._replace(number=number)

    def _messages(self, at: Standing, number: int) -> Iterator[tuple[MessageRow, int]]:
        if at.messages <= 0:
            return
        for accept in self.twin.process.accepts_messages.values():
            if accept.while_open in {"supersede", "append"}:
                token = self.twin.codec.token(accept.writes[0], accept.name, self._kind(accept), number)
                row = MessageRow(
                    number + 1, self.twin.process.name, accept.name, None, None, 1, MessageStatus.PENDING, f'"{token}"', BEGUN_AT
                )
                yield row, number + 1

    def _kind(self, accept: Any) -> Any:
        return self.twin.message_kinds[accept.name]

    def _done(self, at: Standing) -> Iterator[Move]:
        """How what the engine does for the case ends."""
        todo: Any = at.todo
        match todo:
            case commands.Continue(step=step):
                yield self._move("", at, happenings.Continued(step))._replace(plain=True)
            case commands.Acquire():
                yield self._move("", at, happenings.Acquired(todo))._replace(plain=True)
            case commands.CallNode(node=node):
                yield from self._returned(at, node, lambda end: happenings.NodeEnded(todo, end))
            case commands.RunTransaction(node=node):
                yield from self._returned(at, node, lambda end: happenings.TransactionEnded(node, end))
            case commands.RunBranches(step=step):
                yield from self._branches(at, step)
            case commands.CallEffect(effect=effect):
                yield from self._called(at, todo, effect)
            case commands.LookUpEffect(effect=effect):
                yield from self._looked_up(at, todo, effect)
            case commands.StartChild(child=child):
                [(field, kind)] = self.twin.returns(child)
                token = self.twin.codec.token(field, child.name, kind, at.number)
                row = at.case.row._replace(id=2, status=Status.DONE, outcome=token)
                yield self._move(f"{child.name} ends", at, happenings.ChildStarted(child, row, False, {}))._replace(
                    number=at.number + 1, plain=True
                )
                yield self._move(f"{child.name} ends without a result", at, happenings.ChildRefused(child, "no result"))._replace(
                    fails=True
                )

    def _returned(self, at: Standing, node: Any, ended: Any) -> Iterator[Move]:
        for result, number in self._results(node, at.number):
            yield self._move(node.name, at, ended(CallEnd(result)))._replace(number=number, plain=True)
        if node.on_failure == "record":  # otherwise it parks the case, and a redrive calls the node again
            yield self._move(f"{node.name} fails", at, ended(CallEnd(error=FAILED)))._replace(fails=True)

    def _called(self, at: Standing, call: Any, effect: Any) -> Iterator[Move]:
        for result, number in self._results(effect, at.number):
            yield self._move(effect.name, at, happenings.EffectEnded(call, CallEnd(result)))._replace(number=number, plain=True)
        for text, error in (("is not sent", NotSent("no")), ("is rejected", Rejected("no")), ("does not answer", FAILED)):
            yield self._move(f"{effect.name} {text}", at, happenings.EffectEnded(call, CallEnd(error=error)))._replace(fails=True)
        yield self._claim(f"the engine dies while it calls {effect.name}", at, at.case, BEGUN_AT)._replace(fails=True)

    def _looked_up(self, at: Standing, asked: Any, effect: Any) -> Iterator[Move]:
        for result, number in self._results(effect, at.number):
            yield self._move(f"{effect.name} is found", at, happenings.LookedUp(asked, Found(result)))._replace(number=number, fails=True)
        for text, found in (("is absent", ABSENT), ("may have happened", UNKNOWN)):
            yield self._move(f"{effect.name} {text}", at, happenings.LookedUp(asked, found))._replace(fails=True)

    def _branches(self, at: Standing, step: Parallel) -> Iterator[Move]:
        """Each way in which the branches can end. Their order only counts where a quorum cancels the last ones."""
        count = len(step.nodes)
        orders: Sequence[tuple[int, ...]] = list(permutations(range(count))) if isinstance(step.failures, Quorum) else [tuple(range(count))]
        results = [
            [*self._results(node, at.number + 10 * place), *([(FAILED, 0)] if step.records(node) else [])]
            for place, node in enumerate(step.nodes)
        ]
        for order in orders:
            for ends in product(*results):
                yield self._joined(at, step, order, [end for end, _ in ends])

    def _joined(self, at: Standing, step: Parallel, order: tuple[int, ...], ends: Sequence[Any]) -> Move:
        branches, given, failed = Branches(self.twin.process, at.case, step), [], []
        moment = Moment(self._program, at.case, self._now(at.case), self._chance, FULL_OFFER, self.twin.process)
        begun = {branch.node.name: branch for branch in iter(lambda: branches.begin_next(moment.now), None)}
        for place in order:
            branch = begun.get(step.nodes[place].name)
            if branch is None or branches.verdict is not None:
                continue
            end = CallEnd(error=FAILED) if ends[place] is FAILED else CallEnd(ends[place])
            failed += [branch.name] if end.error else []
            given.append(branch_ended(moment, branch, branches.rows[branch.name], end))
            branches.end(branch, given[-1])
        text = f"{', '.join(failed)} fails in {step.name}" if failed else step.name
        move = self._move(text, at, happenings.BranchesRested(branches, tuple(given)))
        return move._replace(number=at.number + 10 * len(step.nodes), plain=not failed, fails=bool(failed))

    def _results(self, step: Any, number: int) -> Iterator[tuple[Any, int]]:
        """What a step can return, each with the number of the next token."""
        fields = self.twin.returns(step)
        options: list[tuple[Any, ...]] = []
        for place, (field, kind) in enumerate(fields):
            token = self.twin.codec.token(field, step.name, kind, number + place)
            options.append((token, None) if may_be_none(kind) else (token,))
        for values in product(*options):
            yield (values[0] if len(values) == 1 else tuple(values) if values else None), number + len(fields)

    def _claim(self, text: str, at: Standing, case: Case, now: float) -> Move:
        row = case.row
        claimed = replace(case, row=row._replace(status=Status.RUNNING, wake_at=None, fence=row.fence + 1))
        return Move(text, claimed, happenings.Claimed(), now, at.number, plain=not text)

    def _move(self, text: str, at: Standing, happening: Any) -> Move:
        return Move(text, at.case, happening, self._now(at.case), at.number)

    def _now(self, case: Case) -> float:
        return max(BEGUN_AT, case.row.updated_at)
