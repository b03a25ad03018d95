"""The program of an entrypoint: what comes next is found by running its body over the recorded outcomes."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from traceback import extract_tb
from typing import Any

from pydantic import TypeAdapter

from pointsman.definition.pauses import Pause, Sleep
from pointsman.definition.rules import BRANCH_CONCURRENCY, Finish, Park, Tasks, TaskWait
from pointsman.definition.state import Failure
from pointsman.errors import Rejected
from pointsman.functional.body import Body, Call, TaskFailed, Value
from pointsman.functional.looking import describe
from pointsman.functional.process import EntrypointProcess, Final, plain, recorded
from pointsman.functional.record import (
    ANSWERS,
    ASKED,
    INVOCATION,
    OUTCOMES,
    RECORD,
    RESULT,
    SAVED,
    SHOWN,
    WOKEN,
    Asked,
    Invocation,
    RecordEntry,
    Returned,
)
from pointsman.functional.taking_back import answers_taken_back
from pointsman.kernel.codec import codec_of, message_of
from pointsman.kernel.decide import Decision
from pointsman.kernel.program import Description
from pointsman.kernel.snapshot import Cell

BODIES_MAX = 10_000  # suspended bodies that a thread keeps: some kilobytes each. A body beyond them is run again over its record.
_ANY: TypeAdapter[Any] = TypeAdapter(Any)
BODY = "body"
"""The writer of the fields that a body writes itself."""


class _Suspended(Body):
    """A body, and how much of the record it has taken in. `pending` is what it has taken in and what is not recorded yet."""

    def __init__(self, process: EntrypointProcess, cells: Mapping[str, Cell]) -> None:
        given: Invocation[Any] = codec_of(process.state).fresh(cells, INVOCATION)
        super().__init__(lambda: process.run_body(given), process.steps)
        self.invocation = cells[INVOCATION].text
        self.items: list[list[RecordEntry]] = []
        self.pending: RecordEntry | None = None
        self.recorded: set[str] = set()
        self.left_out: set[str] = set()
        self.since: dict[str, float] = {}
        self.outcomes = self.answers = 0
        self.woken: float | None = None


class _Bodies(threading.local):
    """The suspended bodies of a thread, by their cases: a greenlet belongs to its thread."""

    def __init__(self) -> None:
        self.of: OrderedDict[int, _Suspended] = OrderedDict()


class BodyProgram:
    """The program of an entrypoint."""

    redrive_reads = True

    def __init__(self, process: EntrypointProcess) -> None:
        self.process = process
        self._bodies = _Bodies()

    def next(self, case: int, cells: Mapping[str, Cell]) -> Decision:
        """Run the body on, and return the step that it waits for."""
        body = self._body(case, cells)
        body.go_on()
        if not body.ended:
            decision = self._waits(body, cells)
            if not isinstance(decision.step, Park):
                return decision
        else:
            decision = self._ended(body)
        self._bodies.of.pop(case, None)
        body.drop()
        return decision

    def pause(self, case: int, cells: Mapping[str, Cell], name: str) -> Pause | None:
        """The pause that the body waits for, if that is still the question that was shown."""
        if INVOCATION not in cells:
            return None
        decision = self.next(case, cells)
        step = decision.step
        return step if isinstance(step, Pause) and step.name == name and ASKED not in (decision.writes or {}) else None

    def redriven(self, case: int, cells: Mapping[str, Cell]) -> Mapping[str, Cell]:
        """Take back the failure that the body did not catch, so that its call is made again."""
        if INVOCATION not in cells:
            return {}
        body = self._body(case, cells)
        body.go_on()
        self._bodies.of.pop(case, None)
        if not isinstance(body.raised, TaskFailed):
            return {}
        seen = [] if body.pending is None else [body.pending]
        return {RECORD: self._recorded([*seen, {"call": body.raised.call, "void": True}])}

    def taken_back(self, cells: Mapping[str, Cell], corrections: Mapping[str, object]) -> tuple[Mapping[str, Cell], Mapping[str, object]]:
        """Take back the answers that the corrections name, so that their pauses are asked again."""
        body = _Suspended(self.process, cells)
        self._take_in(body, cells, _items(cells))
        seen = [] if body.pending is None else [body.pending]
        entries = [*(entry for item in body.items for entry in item), *seen]
        taken = answers_taken_back(entries, {name: value for name, value in corrections.items() if name != INVOCATION})
        left = {name: value for name, value in corrections.items() if name == INVOCATION}
        return ({RECORD: self._recorded([*seen, *taken])} if taken else {}), left

    def describe(self, cells: Mapping[str, Cell]) -> Description:
        """Run a body of its own over the record, and describe which calls are recorded and which it asks for next."""
        body = _Suspended(self.process, cells)
        self._take_in(body, cells, _items(cells))
        body.go_on()
        decision = self._decided(body, cells)
        early = isinstance(decision.step, Tasks)  # a new call comes first, and the body may ask for the others behind it
        described = describe(body, decision, self._changed(body), [] if early else self._left(body))
        body.drop()
        return described

    def _decided(self, body: _Suspended, cells: Mapping[str, Cell]) -> Decision:
        return self._ended(body) if body.ended else self._waits(body, cells)

    def _body(self, case: int, cells: Mapping[str, Cell]) -> _Suspended:
        """The suspended body of a case, with everything that its fields record; a new one where there is none that fits."""
        items, bodies = _items(cells), self._bodies.of
        body = bodies.get(case)
        if body is not None and self._take_in(body, cells, items):
            bodies.move_to_end(case)
            return body
        if body is not None:
            body.drop()
            del bodies[case]
        body = bodies[case] = _Suspended(self.process, cells)
        self._take_in(body, cells, items)
        if len(bodies) > BODIES_MAX:
            bodies.popitem(last=False)[1].drop()
        return body

    def _take_in(self, body: _Suspended, cells: Mapping[str, Cell], items: list[list[RecordEntry]]) -> bool:
        """Take in what was recorded since. Return whether this body may go on: it has seen nothing that is not recorded."""
        known = len(body.items)
        if body.invocation != cells[INVOCATION].text or len(items) < known:
            return False
        # A record that has grown in memory still has the last item itself, and so the others.
        if known and items[known - 1] is not body.items[-1] and items[:known] != body.items:
            return False
        begun = bool(body) or body.dead
        for item in items[known:]:
            for entry in item:
                unrecorded = body.pending is not None or body.verdicts
                if ("void" in entry and begun) or (unrecorded and not _saw(body, cells, entry)):
                    return False
                self._learn(body, cells, entry)
        body.items = items
        fresh = self._fresh(body, cells) if ASKED in cells else None
        if body.pending is not None and (fresh is None or body.pending != fresh or not _saw(body, cells, fresh)):
            return False
        if fresh is not None and body.pending is None:
            body.learn(fresh["call"], _outcome(cells, fresh))
            body.pending = fresh
        return True

    def _learn(self, body: _Suspended, cells: Mapping[str, Cell], entry: RecordEntry) -> None:
        name = entry["call"]
        if "value" not in entry:
            if entry.get("left_out"):
                body.left_out.add(name)
                return
            if "since" in entry:
                body.since[name] = entry["since"]
                return
            if entry.get("void"):
                body.since.pop(name, None)
                body.recorded.discard(name)
                body.learn(name, None)
                return
            body.outcomes += "outcome" in entry
            body.answers += "answer" in entry
            body.woken = entry.get("woken", body.woken)
        body.recorded.add(name)
        if body.verdicts.pop(name, None) is not None:
            return
        if body.pending is not None and body.pending["call"] == name:
            body.pending = None
        else:
            body.learn(name, _outcome(cells, entry))

    def _fresh(self, body: _Suspended, cells: Mapping[str, Cell]) -> RecordEntry | None:
        """The outcome of the step that the case was at, if it has come and is not recorded yet."""
        asked: Asked = cells[ASKED].value  # type: ignore[assignment]
        if asked.call in body.recorded:
            return None
        if asked.kind == "pause":
            return {"call": asked.call, "answer": body.answers} if _length(cells, ANSWERS) > body.answers else None
        if asked.kind == "sleep":
            woken: Any = cells[WOKEN].value if WOKEN in cells else None
            return {"call": asked.call, "woken": woken} if woken != body.woken else None
        return {"call": asked.call, "outcome": body.outcomes} if _length(cells, OUTCOMES) > body.outcomes else None

    def _waits(self, body: _Suspended, cells: Mapping[str, Cell]) -> Decision:
        """The step that a suspended body waits for: its tasks, all at once; else the first effect, pause, sleep or entrypoint that it asked for."""
        calls = tuple([call.branch for call in body.open.values() if call.branch is not None])
        if not calls:
            return self._asks(body, cells, next(call for call in body.open.values() if call.wanted.kind != "gather"))
        changed = self._changed(body) if body.unasked else ()
        rule = f"the body calls anew what had other arguments before: {', '.join(changed)}" if changed else ""
        waiting, waits = body.waiting, None
        assert waiting is not None
        if waiting.seconds is not None:
            name = waiting.calls[0].name
            waits = TaskWait(name, waiting.seconds, body.since.get(name))
        nodes = (calls[0].node,) if len(calls) == 1 else tuple([call.node for call in calls])
        step = Tasks(nodes, None, self.process.concurrency or BRANCH_CONCURRENCY, calls, RECORD, waits)
        return Decision(step, rule, (), self._notes(body))

    def _asks(self, body: _Suspended, cells: Mapping[str, Cell], call: Call[Any]) -> Decision:
        writes = self._notes(body)
        asked = Asked(call=call.name, kind=call.wanted.kind, arguments=call.wanted.arguments)  # type: ignore[arg-type]
        codec = codec_of(self.process.state)
        if ASKED not in cells or cells[ASKED].value != asked:
            writes[ASKED] = codec.encode(ASKED, asked, BODY)
        if call.wanted.kind == "pause":
            assert call.wanted.pause is not None
            shown = codec.encode(SHOWN, call.wanted.arguments, BODY)
            if SHOWN not in cells or cells[SHOWN] != shown:
                writes[SHOWN] = shown
            return Decision(call.wanted.pause, "the body pauses", writes=writes)
        if call.wanted.kind == "sleep":
            return Decision(Sleep(call.wanted.step, (WOKEN,), float(call.wanted.arguments), None), "the body sleeps", writes=writes)
        differs = [name for name in self._left(body) if name.partition("[")[0] == call.wanted.step]
        if differs and call.wanted.kind == "effect":
            problem = f"{differs[0]} is recorded, and the body asks for {call.name} instead, which could repeat it"
            return Decision(
                Park(f"{problem}; correct the body, or name {call.wanted.step!r} in leaves= of entrypoint {self.process.name!r}")
            )
        return Decision(self.process.steps[call.wanted.step], f"the body calls {call.wanted.step}", writes=writes)

    def _ended(self, body: _Suspended) -> Decision:
        """What follows from a body that has returned or raised."""
        if body.raised is not None:
            return Decision(Park(_why(self.process, body.raised)))
        left = self._left(body)
        if left:
            problem = f"the body returned without asking for {', '.join(left)}, which it had asked for before"
            names = ", ".join(sorted({repr(name.partition("[")[0]) for name in left}))
            return Decision(Park(f"{problem}; correct the body, or name {names} in leaves= of entrypoint {self.process.name!r}"))
        value, save = body.value if isinstance(body.value, Final) else (body.value, body.value)
        writes = self._notes(body)
        try:
            plain_value, writes[RESULT] = self._returned(value)
            if save is not value or plain_value != value:  # as JSON values of any type it is something else than the result
                saved = plain(_ANY, save, f"what entrypoint {self.process.name!r} saves")
                writes[SAVED] = codec_of(self.process.state).encode(SAVED, Returned(value=saved), BODY)
        except Exception as error:
            return Decision(
                Park(f"{message_of(error).removesuffix('.')}; correct the body of entrypoint {self.process.name!r}, and redrive the case")
            )
        return Decision(Finish("returned"), "the body returned", writes=writes)

    def _returned(self, value: Any) -> tuple[Any, Cell]:
        """The result as JSON values, checked against the type that the body declares, and its cell. Raises ValueRefused and FutureUsed."""
        made = recorded(self.process.returns, value, f"the result of entrypoint {self.process.name!r}", BODY)
        if isinstance(made, Cell):
            return made.value, Cell(Returned(value=made.value), f'{{"value":{made.text}}}', BODY)
        return made, codec_of(self.process.state).encode(RESULT, Returned(value=made), BODY)

    def _changed(self, body: _Suspended) -> list[str]:
        """Recorded calls of tasks and pauses that the body has not asked for, while it has asked for a new one of the same name."""
        if not body.unasked:
            return []
        new = {call.wanted.step for name, call in body.calls.items() if call.wanted.kind in {"task", "pause"} and name not in body.recorded}
        return [name for name in body.unasked if name not in body.left_out and name.partition("[")[0] in new]

    def _left(self, body: _Suspended) -> list[str]:
        """Recorded calls that the body has not asked for, and may not leave out. A call that was rejected has changed nothing."""
        may = body.left_out.union(self._changed(body), (name for name in body.unasked if _was_rejected(body.known[name])))
        return [name for name in body.unasked if name not in may and name.partition("[")[0] not in self.process.leaves]

    def _notes(self, body: _Suspended) -> dict[str, Cell]:
        """What the body has seen or decided and what is not recorded yet."""
        if body.pending is None and not body.verdicts and not body.unasked:
            return {}
        notes = [body.pending] if body.pending is not None else []
        notes += [RecordEntry(call=name, value=verdict) for name, verdict in body.verdicts.items()]
        notes += [RecordEntry(call=name, left_out=True) for name in self._changed(body)]
        return {RECORD: self._recorded(notes)} if notes else {}

    def _recorded(self, entries: list[RecordEntry]) -> Cell:
        return codec_of(self.process.state).write(RECORD, entries, BODY)


def _items(cells: Mapping[str, Cell]) -> list[list[RecordEntry]]:
    return cells[RECORD].value if RECORD in cells else []  # type: ignore[return-value]


def _length(cells: Mapping[str, Cell], field: str) -> int:
    return len(cells[field].value) if field in cells else 0  # type: ignore[arg-type]


def _outcome(cells: Mapping[str, Cell], entry: RecordEntry) -> Value | Failure:
    if "value" in entry:
        return Value(entry["value"])
    if "failure" in entry:
        return Failure.model_validate(entry["failure"])
    if "woken" in entry:
        return Value(entry["woken"])
    if "answer" in entry:
        answers: Any = cells[ANSWERS].value
        return Value(answers[entry["answer"]])
    outcomes: Any = cells[OUTCOMES].value
    outcome: Returned | Failure = outcomes[entry["outcome"]]
    return Value(outcome.value) if isinstance(outcome, Returned) else outcome


def _saw(body: _Suspended, cells: Mapping[str, Cell], entry: RecordEntry) -> bool:
    """Whether what is recorded is what the body has seen or decided before.

    Of two answers at once, the other one may have come first, and another engine may have decided later over more outcomes.
    """
    name = entry["call"]
    if "left_out" in entry or "since" in entry:
        return True
    if name in body.verdicts:
        return bool(body.verdicts[name] == entry.get("value"))
    return body.pending is None or body.pending["call"] != name or body.known[name] == _outcome(cells, entry)


def _was_rejected(outcome: Value | Failure) -> bool:
    return isinstance(outcome, Failure) and outcome.error == Rejected.__name__


def _why(process: EntrypointProcess, error: BaseException) -> str:
    """Why a case is parked whose body raised."""
    if isinstance(error, TaskFailed):
        return str(error)
    frames = [frame for frame in extract_tb(error.__traceback__) if not frame.filename.startswith(process.own_path)]
    where = f" (line {frames[-1].lineno} of {frames[-1].name})" if frames else ""
    return f"the body of entrypoint {process.name!r} raised {type(error).__name__}: {message_of(error)}{where}; correct it and redrive the case"
