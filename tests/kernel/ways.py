"""A process that goes where it is told: it does one step, and then its inputs, an answer, a message or other code say where to go."""

import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parents[1] / "simulation"))

from world import CALL_SECONDS, SETTLE_SECONDS

from pointsman import Database, Failure, Limit, Process, Reconcile, Retry, State, compensate, finish, otherwise, parallel, park, when
from pointsman.definition.effects import ABSENT

GOALS = ("park", "finish", "ask", "work", "undo")
"""Where the process can be told to go: it parks, ends, waits, takes another step, takes its effect back."""
ENDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "": ((),),
    "node": ((), ("raises",), ("busy",), ("refused",)),
    "effect": ((), ("busy",), ("not sent",), ("rejected",), ("lost",), ("late",), ("lost", "unknown")),
    "loose": ((), ("lost",), ("late",)),
    "transaction": ((), ("raises",)),
    "branches": ((), ("raises",)),
    "child": ((), ("refused",), ("known",), ("without result",)),
}
"""For each step the ways in which its first calls end oddly; without one, all calls end well."""
LIMIT = Limit("line", concurrency=1)
RETRY = Retry(attempts_max=2, first_seconds=1.0)


class Word(BaseModel):
    """What a message or an answer says: where to go."""

    goal: str


class Way(State):
    step: str
    then: str
    word: Word | None = None
    answer: Word | None = None
    second: Word | None = None
    node: str | None = None
    effect: str | None = None
    loose: str | Failure | None = None
    transaction: int | None = None
    branches: str | None = None
    other: str | None = None
    child: str | None = None
    work: str | None = None

    @property
    def goal(self) -> str:
        """Where to go: the last word counts."""
        if self.word is not None:
            return self.word.goal
        if self.answer is not None:
            return self.answer.goal
        ended = self.step == "" or getattr(self, self.step) is not None
        return self.then if ended else "begin"


class Errand(State):
    label: str


def errand_of(step: str) -> dict[str, str]:
    return {"label": step}


async def ask_provider(step: str) -> Any:
    return ABSENT


def way(*, forced: str = "", without_effect: bool = False) -> Process[Way]:
    """The process. Newer code of it is `forced` to a goal, or has a node in place of an effect."""
    process, errand = Process("way", Way), Process("errand", Errand)
    errand.rules(otherwise(finish("run")))
    process.accept(Word, writes="word", correlate=lambda _: "t", starts=False, name="word")

    @process.node(writes="node", limit=LIMIT, retry=RETRY)
    async def node(step: str) -> str:
        return ""

    @process.compensation(safety=Reconcile(ask_provider, SETTLE_SECONDS), retry=RETRY, timeout_seconds=CALL_SECONDS)
    def take_back(step: str) -> None:  # a plain function: its thread comes before its intent
        pass

    @process.transaction(writes="transaction")
    def transaction(step: str, *, db: Database) -> int:
        return 0

    @process.node(writes="branches", retry=RETRY)
    async def branches(step: str) -> str:
        return ""

    @process.node(writes="other", retry=RETRY)
    async def other(step: str) -> str:
        return ""

    @process.node(writes="work")
    async def work(step: str) -> str:
        return ""

    steps: dict[str, Any] = {
        "node": node, "transaction": transaction, "branches": parallel(branches, other),
        "child": process.child(errand, errand_of, writes="child", result="label", name="child"),
    }  # fmt: skip
    if without_effect:

        @process.node(writes="effect")
        async def by_hand(step: str) -> str:
            return ""

        steps["effect"] = by_hand
    else:

        @process.effect(
            writes="effect",
            safety=Reconcile(ask_provider, SETTLE_SECONDS),
            undo=take_back,
            limit=LIMIT,
            retry=RETRY,
            timeout_seconds=CALL_SECONDS,
        )
        async def effect(step: str) -> str:
            return ""

        steps["effect"] = effect

    @process.effect(
        writes="loose",
        safety=Reconcile(ask_provider, SETTLE_SECONDS),
        undo=take_back,
        retry=RETRY,
        on_failure="record",
        timeout_seconds=CALL_SECONDS,
    )
    async def loose(step: str) -> str:
        return ""

    steps["loose"] = loose
    ask = process.pause(writes="answer", answer=Word, shows=("step",))
    again = process.pause(writes="second", answer=Word, shows=("step",))

    def goes(goal: str, field: str = "step") -> Any:
        """Whether the process is to go there; where that writes a field, while it is empty."""
        return lambda c: goal == ((c.goal and forced) or c.goal) and (field == "step" or getattr(c, field) is None)

    def at(name: str) -> Any:
        return lambda c: c.step == name and getattr(c, name) is None

    process.rules(
        when("parks", goes("park"), park("as it is told")),
        when("ends", goes("finish"), finish("as it is told")),
        when("asks", goes("ask", "answer"), ask),
        when("asks again", goes("ask", "second"), again),
        when("works", goes("work", "work"), work),
        when("sends", goes("send", "effect"), steps["effect"]),
        when("takes back", goes("undo"), compensate("taken back")),
        *(when(f"at {name}", at(name), step) for name, step in steps.items()),
        otherwise(finish("done")),
    )
    return process


WAY = way()

DEPLOYS = (WAY, way(without_effect=True), way(forced="finish"), way(forced="park"), way(forced="work"))
"""The code that may be deployed while cases are open."""
