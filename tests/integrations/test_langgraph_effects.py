"""Effects in LangGraph's nodes and tasks: called once, whatever is run again."""

import asyncio
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt

from pointsman import (
    ABSENT,
    AtLeastOnce,
    AtMostOnce,
    Context,
    DefinitionError,
    Engine,
    Found,
    Idempotent,
    InputInvalid,
    NotSent,
    Reconcile,
    Rejected,
    Retry,
    UnknownProcess,
)
from pointsman.integrations.langgraph import EffectFailed, EffectInDoubt, PointsmanSaver, effect_once

THREAD: Any = {"configurable": {"thread_id": "1"}}
AT_ONCE = Retry(first_seconds=0.0)


class Bank:
    """The outside world: what was charged, and under which keys."""

    def __init__(self) -> None:
        self.charged: list[tuple[str, int]] = []
        self.keys: list[str] = []
        self.fails: list[Exception | None] = []

    def charge(self, order: str, amount: int, key: str) -> str:
        self.charged.append((order, amount))
        self.keys.append(key)
        if self.fails and (error := self.fails.pop(0)) is not None:
            raise error
        return f"receipt {len(self.charged)}"


class Order(TypedDict, total=False):
    orders: list[str]
    order: str
    receipts: Annotated[list[str | None], operator.add]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cases.db"


def charging(bank: Bank, safety: Any, **settings: Any) -> Any:
    @effect_once(safety, **settings)
    def charge(order: str, amount: int = 5, *, ctx: Context) -> str:
        return bank.charge(order, amount, ctx.key)

    return charge


def graph_of(saver: Any, **nodes: Callable[[Any], Any]) -> Any:
    graph = StateGraph(Order)
    before = START
    for name, node in nodes.items():
        graph.add_node(name, node, retry_policy=RetryPolicy(initial_interval=0.0, jitter=False, max_attempts=3, retry_on=OSError))
        graph.add_edge(before, name)
        before = name
    graph.add_edge(before, END)
    return graph.compile(checkpointer=saver)


def test_a_node_that_runs_again_after_an_answer_gets_the_recorded_outcomes(path: Path) -> None:
    bank = Bank()
    charge = charging(bank, AtMostOnce())

    def node(state: Order) -> Order:
        first, second, other = charge("17"), charge("17"), charge("18", 7)
        interrupt("go on?")
        return {"receipts": [first, second, other]}

    for resume in (None, "yes"):
        with PointsmanSaver.open(path, effects=[charge]) as saver:
            graph = graph_of(saver, pay=node)
            state = graph.invoke({"orders": []} if resume is None else Command(resume=resume), THREAD)

    assert bank.charged == [("17", 5), ("17", 5), ("18", 7)]  # two calls alike in one run of the node are two calls
    assert len(set(bank.keys)) == 3
    assert state["receipts"] == ["receipt 1", "receipt 2", "receipt 3"]


def test_a_node_that_fails_and_is_tried_again_calls_nothing_twice(path: Path) -> None:
    bank, tries = Bank(), []
    charge = charging(bank, AtMostOnce())

    def node(state: Order) -> Order:
        receipt = charge("17")
        tries.append(receipt)
        if len(tries) < 5:
            raise OSError("the disk is slow")
        return {"receipts": [receipt]}

    with PointsmanSaver.open(path, effects=[charge]) as saver:
        graph = graph_of(saver, pay=node)
        with pytest.raises(OSError, match="slow"):
            graph.invoke({"orders": []}, THREAD)
        state = graph.invoke(None, THREAD)

    assert (len(bank.charged), tries, state["receipts"]) == (1, ["receipt 1"] * 5, ["receipt 1"])


def test_each_round_of_a_loop_each_branch_and_each_subgraph_has_its_own_calls(path: Path) -> None:
    bank = Bank()
    charge = charging(bank, AtMostOnce())

    def pay(state: Order) -> Order:
        return {"receipts": [charge("17")]}

    with PointsmanSaver.open(path, effects=[charge]) as saver:
        inner = StateGraph(Order)
        inner.add_node("pay", pay)
        inner.add_edge(START, "pay")
        inner.add_edge("pay", END)
        compiled = inner.compile()
        graph = StateGraph(Order)
        graph.add_node("fan", pay)
        graph.add_node("loop", lambda state: {"receipts": compiled.invoke({"order": "x"})["receipts"]})
        graph.add_conditional_edges(START, lambda state: [Send("fan", {}), Send("fan", {})], ["fan"])
        graph.add_edge("fan", "loop")
        graph.add_conditional_edges("loop", lambda state: "loop" if len(state["receipts"]) < 5 else END, ["loop", END])
        state = graph.compile(checkpointer=saver).invoke({"orders": []}, THREAD)

    assert len(bank.charged) == len(set(bank.keys)) == 5
    assert sorted(state["receipts"]) == [f"receipt {number}" for number in range(1, 6)]


def test_an_effect_with_a_key_happens_once_in_its_thread_wherever_it_is_called(path: Path) -> None:
    bank = Bank()
    charge = charging(bank, AtMostOnce(), key=lambda order: order)

    def pay(state: Order) -> Order:
        return {"receipts": [charge("17"), charge("17")]}

    with PointsmanSaver.open(path, effects=[charge]) as saver:
        graph = graph_of(saver, first=pay, second=pay)
        state = graph.invoke({"orders": []}, THREAD)
        graph.invoke({"orders": []}, {"configurable": {"thread_id": "2"}})
        with pytest.raises(InputInvalid, match="already called under this key with other arguments"):
            graph_of(saver, other=lambda state: {"receipts": [charge("17", 99)]}).invoke({"orders": []}, THREAD)

    assert bank.charged == [("17", 5)] * 2
    assert state["receipts"] == ["receipt 1"] * 4


def test_a_call_that_was_certainly_not_sent_is_made_again_and_a_rejected_one_is_not(path: Path) -> None:
    bank = Bank()
    bank.fails = [NotSent("no connection"), None, Rejected("the card has expired")]
    charge = charging(bank, AtMostOnce(), retry=AT_ONCE)

    with PointsmanSaver.open(path, effects=[charge]) as saver:
        graph = graph_of(saver, pay=lambda state: {"receipts": [charge(state["order"])]})
        assert graph.invoke({"order": "17"}, THREAD)["receipts"] == ["receipt 2"]
        for given in ({"order": "18"}, None):
            with pytest.raises(EffectFailed, match=r"'charge' was rejected: the card has expired; .*`pointsman redrive 2 --why TEXT`"):
                graph.invoke(given, {"configurable": {"thread_id": "2"}})

    assert bank.charged == [("17", 5), ("17", 5), ("18", 5)]


@pytest.mark.parametrize(("happened", "calls"), [(True, 1), (False, 2)])
def test_a_call_in_doubt_stops_the_thread_until_somebody_says_what_happened(path: Path, happened: bool, calls: int) -> None:
    bank = Bank()
    bank.fails = [ConnectionResetError("while waiting for the answer")]
    charge = charging(bank, AtMostOnce())

    with PointsmanSaver.open(path, effects=[charge]) as saver:
        graph = graph_of(saver, pay=lambda state: {"receipts": [charge("17")]})
        with pytest.raises(EffectInDoubt, match=r"`pointsman resolve [0-9a-f]{40} --happened .* --call-again") as doubt:
            graph.invoke({"orders": []}, THREAD)
        with pytest.raises(EffectInDoubt):
            graph.invoke(None, THREAD)
        resolution = {"happened": happened, "by": "eve", "why": "the bank says so", "outcome": "receipt 1" if happened else None}
        saver.wait_for_engine(lambda engine: engine.resolve(doubt.value.key, **resolution))
        state = graph.invoke(None, THREAD)

    assert len(bank.charged) == calls
    assert state["receipts"] == [f"receipt {calls}"]


def test_other_policies_call_again_or_look_up(path: Path) -> None:
    bank, asked = Bank(), []
    bank.fails = [TimeoutError("too slow"), None, TimeoutError("too slow"), TimeoutError("too slow")]

    def look_up(order: str, amount: int, *, ctx: Context) -> object:
        asked.append((order, amount, ctx.key))
        return ABSENT if len(asked) == 1 else Found("found receipt")

    again = charging(bank, Idempotent(), name="again", retry=AT_ONCE)
    looked = charging(bank, Reconcile(look_up, propagation_seconds=0.0), name="looked", retry=AT_ONCE, timeout_seconds=1.0)

    with PointsmanSaver.open(path, effects=[again, looked]) as saver:
        state = graph_of(saver, pay=lambda state: {"receipts": [again("17"), looked("18")]}).invoke({"orders": []}, THREAD)

    assert bank.charged == [("17", 5)] * 2 + [("18", 5)] * 2
    assert len(set(bank.keys)) == 2
    assert {order for order, *_ in asked} == {"18"}
    assert {key for *_, key in asked} == {bank.keys[-1]}
    assert state["receipts"] == ["receipt 2", "found receipt"]


def test_async_effects_functional_tasks_and_functions_that_return_nothing(path: Path) -> None:
    sent: list[str] = []

    @effect_once(AtLeastOnce("a reader ignores a second notice"))
    async def notify(text: str) -> None:
        sent.append(text)

    @effect_once(AtMostOnce())
    async def find(text: str) -> int | None:
        sent.append(text)
        return None

    @task
    async def tell(text: str) -> Any:
        return [await notify(text), await find(text)]

    async def main() -> Any:
        async with Engine.open(path, [notify.process, find.process]) as engine:

            @entrypoint(checkpointer=PointsmanSaver(engine))
            async def workflow(text: str) -> Any:
                told = await tell(text)
                again = [await notify(text), await find(text)]
                return [*told, *again, interrupt("go on?")]

            await workflow.ainvoke("hello", THREAD)
            return await workflow.ainvoke(Command(resume="yes"), THREAD)

    assert asyncio.run(main()) == [None, None, None, None, "yes"]
    assert sent == ["hello"] * 4


def test_what_an_effect_cannot_be_used_for_is_said(path: Path) -> None:
    bank = Bank()
    charge = charging(bank, AtMostOnce())

    with pytest.raises(RuntimeError, match="outside of a LangGraph node"):
        charge("17")
    with pytest.raises(DefinitionError, match="the graph has no PointsmanSaver"):
        graph_of(InMemorySaver(), pay=lambda state: {"receipts": [charge("17")]}).invoke({"orders": []}, THREAD)
    with PointsmanSaver.open(path) as saver, pytest.raises(UnknownProcess, match=r"open it with effects=\[charge\]"):
        graph_of(saver, pay=lambda state: {"receipts": [charge("17")]}).invoke({"orders": []}, THREAD)
    with PointsmanSaver.open(path, effects=[charge]) as saver, pytest.raises(InputInvalid, match="amount"):
        graph_of(saver, pay=lambda state: {"receipts": [charge("17", "much")]}).invoke({"orders": []}, THREAD)
    with pytest.raises(DefinitionError, match="declare each parameter"):
        effect_once(AtMostOnce())(lambda *orders: None)

    async def in_the_loop() -> None:
        async with Engine.open(path, [charge.process]) as engine:

            async def pay(state: Order) -> Order:
                return {"receipts": [charge("17")]}

            with pytest.raises(RuntimeError, match="make the function that calls it async"):
                await graph_of(PointsmanSaver(engine), pay=pay).ainvoke({"orders": []}, THREAD)

    asyncio.run(in_the_loop())
    assert not bank.charged
