"""Random processes, and what happens to their cases: the same for each number."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from random import Random
from typing import Any, NamedTuple

from orders import Approval
from pydantic import Field, create_model
from pydantic_core import to_json
from tickets import Letter

from pointsman import (
    ABSENT,
    AtLeastOnce,
    AtMostOnce,
    Context,
    DefinitionError,
    Failure,
    Found,
    Idempotent,
    Item,
    Limit,
    Log,
    NotSent,
    Process,
    Reconcile,
    Rejected,
    Retry,
    State,
    answer_with,
    compensate,
    each,
    finish,
    otherwise,
    parallel,
    when,
)

STEPS = 5
KINDS = ("node", "plain", "effect", "effect", "pause", "nap", "both", "each", "child")
ONCE = {"pause", "nap", "each", "child"}
SAID = ("answer", "answer", "edit", "cancel", "redrive", "correct", "resolve", "letter", "letter", "start", "start", "assign", "wait")
SECONDS = (11.03, 60.03, 90.03)  # no timer of a case ends at a sum of them: who came first would be open
WAYS = ("append", "supersede", "hold", "new_case")
LIMITS = (None, None, Limit("narrow", concurrency=1), Limit("slow", per_second=2.0), Limit("wide", concurrency=3))
TEXT = str | Failure | None


class Said(NamedTuple):
    """What somebody says after so many seconds, of the case at this place among all. `chance` decides what is left open."""

    seconds: float
    what: str
    case: int
    chance: int


class Plot(NamedTuple):
    """A process whose cases start with letters, or only when they are asked to, its child's, and what is said. A start gives the `first` field."""

    number: int
    way: str
    processes: list[Process[Any]]
    said: list[Said]
    first: str

    def start(self, said: Said) -> dict[str, Any]:
        """A start: its inputs, its key, which an earlier one may have had, and perhaps a correlation key."""
        chance = Random(said.chance)
        key, correlation = f"key {chance.randrange(3)}", chance.choice(("a", "a", "a", "b", None))
        letter = Letter(id=key, thread="a", text=f"text of {said.chance}")
        return {"state": {self.first: [letter] if self.first == "letters" else letter}, "key": key, "correlation": correlation}


class Outside:
    """The world outside. What a call does is computed from what is called, so it does the same on each side."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.done: list[tuple[str, str]] = []
        self._by_key: dict[tuple[str, str], str] = {}

    def node(self, step: str, reads: object, ctx: Context) -> str:
        text, how = self._how(step, reads, ctx)
        if how < 0.2:
            raise ConnectionError("away")
        return text

    def effect(self, step: str, reads: object, ctx: Context) -> str:
        text, how = self._how(step, reads, ctx)
        if how < 0.1:
            raise NotSent("not sent")
        if how < 0.15:
            raise Rejected("rejected")
        self.done.append((text, ctx.key))
        self._by_key[step, ctx.key] = text
        if how > 0.9:
            raise ConnectionError("nobody knows")
        return text

    def look_up(self, step: str, ctx: Context) -> object:
        text = self._by_key.get((step, ctx.key))
        return ABSENT if text is None else Found(text)

    def _how(self, step: str, reads: object, ctx: Context) -> tuple[str, float]:
        text = f"{step} of {to_json(reads).decode()}"
        return text, Random(f"{self._number} {text} {ctx.attempt}").random()


class Small(State):
    text: str
    reply: str | None = None


class Asking(Small):
    asked: Approval | None = None


Does = Callable[[Any, Context, Outside], Any]


def function_of(name: str, reads: Mapping[str, Any], do: Does, *, waits: bool, returns: Any = str) -> Any:
    """A function as an author would write it, with these parameters."""

    async def waiting(*values: Any, ctx: Context, outside: Outside) -> Any:
        await asyncio.sleep(0)
        return do(values, ctx, outside)

    def at_once(*values: Any, ctx: Context, outside: Outside) -> Any:
        return do(values, ctx, outside)

    return named(waiting if waits else at_once, name, reads, {"ctx": Context, "outside": Outside}, returns)


def named(function: Any, name: str, reads: Mapping[str, Any], uses: Mapping[str, Any], returns: Any) -> Any:
    """The function with this signature."""
    kind = inspect.Parameter
    function.__name__ = function.__qualname__ = name
    function.__annotations__ = {**reads, **uses, "return": returns}
    places = [*(kind(one, kind.POSITIONAL_OR_KEYWORD) for one in reads), *(kind(one, kind.KEYWORD_ONLY) for one in uses)]
    function.__signature__ = inspect.Signature(places)
    return function


def small(chance: Random) -> Process[Any]:
    """The process of children."""
    asks = chance.random() < 0.5
    process = Process("small", Asking if asks else Small)
    reply = process.node(function_of("reply", {"text": str}, lambda values, _, __: f"reply to {values[0]}", waits=True), writes="reply")
    rules = [when("no reply", lambda c: c.reply is None, reply)]
    if asks:
        ladder = [answer_with(Approval(agreed=True, by="nobody"))]
        ask = process.pause(writes="asked", answer=Approval, shows=("text",), deadline=timedelta(seconds=200), ladder=ladder)
        rules.insert(0, when("not asked", lambda c: c.asked is None, ask))
    if chance.random() < 0.2:
        rules.insert(0, when("refused", lambda c: c.text > "t3", finish("no reply")))
    process.rules(*rules, otherwise(finish("replied")))
    return process


class _Steps:
    """Declares random steps of a process. `first` is the field of its letters."""

    def __init__(self, chance: Random, way: str, kinds: list[str], *, starts: bool) -> None:
        self._chance = chance
        self.first, self._kind = ("letters", Log[Letter]) if way == "append" else ("letter", Letter)
        self.process = Process("story", self._state(kinds))
        self.process.accept(
            Letter, writes=self.first, correlate=lambda letter: letter.thread, key=lambda letter: letter.id, while_open=way, name="letter-came",  # type: ignore[arg-type]
            starts=starts,
        )  # fmt: skip
        self._child = small(chance)
        self.processes = [self.process, self._child]

    def _state(self, kinds: list[str]) -> type[State]:
        fields: dict[str, Any] = {self.first: (self._kind, Field(default_factory=list) if self.first == "letters" else ...)}
        if {"each", "pause"} & {*kinds}:
            fields["lines"] = (list[int] | None, None)
        for number, kind in enumerate(kinds):
            own = {"pause": ("approval", Approval | None), "nap": ("nap", float | None), "each": ("replies", list[str | Failure] | None)}
            name, of = own.get(kind, (f"s{number}", TEXT))
            fields[name] = (of, None)
            if kind == "both":
                fields[f"b{number}"] = (TEXT, None)
        return create_model("Story", __base__=State, **fields)

    def rule(self, number: int, kind: str) -> Any:
        """The rule of one step."""
        chance, process, name, slot = self._chance, self.process, f"step_{number}", f"s{number}"
        reads = {self.first: self._kind}
        if number and chance.random() < 0.5 and f"s{number - 1}" in process.state.model_fields:
            reads[f"s{number - 1}"] = TEXT
        match kind:
            case "node" | "plain":
                step: Any = self._node(name, slot, reads, waits=kind == "node")
            case "effect":
                step = self._effect(name, slot, reads)
            case "both":
                pair = [self._node(name, slot, reads), self._node(f"beside_{number}", f"b{number}", reads)]
                step = parallel(*pair, failures=chance.choice((None, "record")))
            case "pause":
                ladder = [answer_with(Approval(agreed=False, by="nobody"))] if chance.random() < 0.5 else []
                slot, settings = "approval", {"deadline": timedelta(seconds=307), "ladder": ladder, "edits": ("lines",)}
                step = process.pause(writes=slot, answer=Approval, shows=(self.first, "lines"), **settings)
            case "nap":
                slot = "nap"
                step = process.sleep(writes=slot, seconds=timedelta(seconds=50))
            case "each":
                slot = "replies"
                one = self._node(name, slot, {**reads, "item": Item[int]})
                step = each(one, over="lines", failures=chance.choice((None, "record")), concurrency=2)
            case _:
                inputs: Any = named(
                    lambda letters: {"text": f"t{len(str(letters)) % 7}"}, "inputs", {self.first: self._kind}, {}, dict[str, Any]
                )
                step = process.child(self._child, inputs, writes=slot, result="reply")
        return when(f"no {slot}", lambda c: getattr(c, slot) is None, step)

    def lines(self) -> Any:
        """The rule of the first step, if others need it."""
        if "lines" not in self.process.state.model_fields:
            return []
        listed = function_of("list_lines", {self.first: self._kind}, lambda *_: [1, 2, 3], waits=True, returns=list[int])
        return [when("no lines", lambda c: c.lines is None, self.process.node(listed, writes="lines"))]

    def _node(self, name: str, writes: str, reads: Mapping[str, Any], *, waits: bool | None = None) -> Any:
        waits = self._chance.random() < 0.5 if waits is None else waits
        function = function_of(name, reads, lambda values, ctx, outside: outside.node(name, values, ctx), waits=waits)
        return self.process.node(function, writes=writes, timeout_seconds=10, **self._settings())

    def _effect(self, name: str, writes: str, reads: Mapping[str, Any]) -> Any:
        chance = self._chance
        look = function_of(f"look_for_{name}", reads, lambda _, ctx, outside: outside.look_up(name, ctx), waits=chance.random() < 0.5)
        look.__annotations__["return"] = object
        undo, undoing = None, f"undo_{name}"
        if chance.random() < 0.5:
            do = lambda values, ctx, outside: outside.effect(undoing, values, ctx)  # noqa: E731
            function = function_of(undoing, {**reads, writes: TEXT}, do, waits=chance.random() < 0.5, returns=None)
            undo = self.process.compensation(safety=Idempotent(), timeout_seconds=20, retry=self._retry())(function)
        function = function_of(name, reads, lambda values, ctx, outside: outside.effect(name, values, ctx), waits=chance.random() < 0.5)
        safety = chance.choice((Idempotent(), AtMostOnce(), AtLeastOnce("it is a story"), Reconcile(look, 5)))
        return self.process.effect(function, writes=writes, safety=safety, timeout_seconds=20, undo=undo, **self._settings())

    def _settings(self) -> dict[str, Any]:
        return {"retry": self._retry(), "on_failure": self._chance.choice(("park", "record")), "limit": self._chance.choice(LIMITS)}

    def _retry(self) -> Retry:
        return Retry(attempts_max=self._chance.choice((1, 2, 3)), first_seconds=self._chance.choice((0.0, 7.0)), jitter=0.0)


def plot(number: int) -> Plot | None:
    """The plot of this number, or None if its process is not one."""
    chance, kinds = Random(number), list[str]()
    for _ in range(STEPS):
        kinds.append(chance.choice([kind for kind in KINDS if kind not in ONCE or kind not in kinds]))
    way = chance.choice(WAYS)
    if not (starts := chance.random() < 0.7):
        kinds[0] = "node"  # an engine may begin the first step before it takes in a letter that came early, and so make an effect more
    steps = _Steps(chance, way, kinds, starts=starts)
    rules = [*steps.lines(), *(steps.rule(place, kind) for place, kind in enumerate(kinds))]
    if "pause" in kinds and chance.random() < 0.5:
        refused = when("refused", lambda c: c.approval is not None and not c.approval.agreed, compensate("refused"))
        rules.insert(chance.randrange(len(rules)), refused)
    try:
        steps.process.rules(*rules, otherwise(chance.choice((finish("told"), compensate("taken back")))))
    except DefinitionError:
        return None
    said = [
        Said(chance.choice(SECONDS), chance.choice(SAID), chance.randrange(4), chance.randrange(10**6))
        for _ in range(chance.randrange(3, 9))
    ]
    return Plot(number, way, steps.processes, said, steps.first)


def asked(said: Said, shown: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The call that somebody makes who sees the case like this, or None. `shown` has its row, `token`, `fields` and `effects`."""
    chance, who = Random(said.chance), {"by": "anna", "why": "so it is"}
    waits, parked, edits = shown["status"] == "waiting", shown["status"] == "parked", "lines" in shown["fields"]
    doubts = [entry["key"] for entry in shown["effects"] if entry["status"] in ("in_doubt", "intended")]
    happened = chance.random() < 0.5
    match said.what:
        case "answer" | "edit" if shown["token"]:
            answer = {"agreed": chance.random() < 0.8, "by": "anna"}
            changed = {"lines": [4, 5]} if said.what == "edit" and edits else {}
            return "answer", {"token": shown["token"], "answer": answer, "by": "anna", "edits": changed}
        case "assign" if shown["token"]:
            return "assign", {"to": "ben", "by": "anna"}
        case "cancel" if happened:
            return "cancel", who
        case "redrive" if parked and not doubts:
            return "redrive", who
        case "correct" if edits and (parked or waits):
            return "redrive", {**who, "fields": {"lines": [chance.randrange(9)]}}
        case "resolve" | "redrive" if doubts:
            return "resolve", {**who, "key": doubts[0], "happened": happened, **({"outcome": "resolved"} if happened else {})}
    return None
