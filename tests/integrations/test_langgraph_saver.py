"""LangGraph's programs on our store: plain and async, beside an engine, with values that grow, and with values that cannot be stored."""

import asyncio
import operator
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from pointsman import Engine, EngineStopped, StoreLocked, ValueRefused
from pointsman.integrations.langgraph import PointsmanSaver

TABLES = ("threads", "lines", "values", "writes", "chunks")


class Notes(TypedDict, total=False):
    notes: Annotated[list[str], operator.add]
    answer: str


def asking(state: Notes) -> Notes:
    return {"answer": interrupt({"notes": state["notes"]}), "notes": ["asked"]}


def graph_on(saver: PointsmanSaver) -> Any:
    graph = StateGraph(Notes)
    graph.add_node("read", lambda state: {"notes": [f"read {len(state['notes'])}"]})
    graph.add_node("ask", asking)
    graph.add_edge(START, "read")
    graph.add_edge("read", "ask")
    graph.add_edge("ask", END)
    return graph.compile(checkpointer=saver)


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cases.db"


def rows(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM checkpoint{table}").fetchone()[0]
            for table in ("s", *(f"_{table}" for table in TABLES))
        }


def test_a_plain_program_pauses_goes_on_after_a_restart_and_can_be_forked(path: Path) -> None:
    with PointsmanSaver.open(path) as saver:
        graph = graph_on(saver)
        paused = graph.invoke({"notes": ["begun"]}, thread("1"))
        assert paused["__interrupt__"][0].value == {"notes": ["begun", "read 1"]}

    with PointsmanSaver.open(path) as saver:
        graph = graph_on(saver)
        assert graph.get_state(thread("1")).next == ("ask",)
        ended = graph.invoke(Command(resume="yes"), thread("1"))
        history = list(graph.get_state_history(thread("1")))
        before = next(state for state in history if state.next == ("read",))
        fork = graph.update_state(before.config, {"notes": ["corrected"]})
        forked = graph.invoke(None, fork)

    assert ended == {"notes": ["begun", "read 1", "asked"], "answer": "yes"}
    assert [state.values.get("notes", []) for state in history] == [
        ["begun", "read 1", "asked"], ["begun", "read 1"], ["begun"], [],
    ]  # fmt: skip
    assert forked["notes"] == ["begun", "corrected", "read 2"]


def test_an_async_program_beside_an_engine_writes_through_its_writer(path: Path) -> None:
    asyncio.run(beside_an_engine(path))


async def beside_an_engine(path: Path) -> None:
    async with Engine.open(path, []) as engine:
        graph = graph_on(PointsmanSaver(engine))
        await asyncio.gather(*(graph.ainvoke({"notes": ["begun"]}, thread(str(number))) for number in range(8)))
        with pytest.raises(StoreLocked, match="is open in another engine"), PointsmanSaver.open(path):
            pass
        ended = await asyncio.gather(*(graph.ainvoke(Command(resume=number), thread(str(number))) for number in range(8)))
        assert [state["answer"] for state in ended] == list(range(8))
        assert [state.config async for state in graph.aget_state_history(thread("3"), limit=2)]
        # A plain call from the event loop's own thread does not wait for the loop.
        assert graph.get_state(thread("3")).values["answer"] == 3


def test_programs_in_many_threads_share_a_saver(path: Path) -> None:
    with PointsmanSaver.open(path) as saver, ThreadPoolExecutor(8) as pool:
        graph = graph_on(saver)

        def whole(number: int) -> list[str]:
            graph.invoke({"notes": []}, thread(str(number)))
            return list(graph.invoke(Command(resume="yes"), thread(str(number)))["notes"])

        assert list(pool.map(whole, range(40))) == [["read 0", "asked"]] * 40
        assert len(list(saver.list(None))) == 40 * 4


def test_the_functional_api_runs_on_the_saver(path: Path) -> None:
    called = []

    @task
    def double(number: int) -> int:
        called.append(number)
        return 2 * number

    with PointsmanSaver.open(path) as saver:

        @entrypoint(checkpointer=saver)
        def workflow(number: int, *, previous: int | None = None) -> Any:
            doubled = double(number).result()
            answer = interrupt("go on?")
            return entrypoint.final(value=(doubled, answer, previous), save=doubled)

        for number in (1, 2):
            list(workflow.stream(number, thread("1")))
            found = workflow.invoke(Command(resume="yes"), thread("1"))

    assert called == [1, 2]
    assert found == (4, "yes", 2)


def test_nothing_is_left_of_a_deleted_thread_and_nothing_of_another_is_gone(path: Path) -> None:
    long = "x" * 50_000
    with PointsmanSaver.open(path) as saver:
        graph = graph_on(saver)
        for name in ("1", "2"):
            graph.invoke({"notes": [long, name]}, thread(name))
        saver.copy_thread("1", "3")
        saver.delete_thread("1")
        assert graph.get_state(thread("1")).values == {}
        saver.prune(["3"])
        assert len(list(graph.get_state_history(thread("3")))) == 1
        for name, first in (("2", "2"), ("3", "1")):
            assert graph.invoke(Command(resume="yes"), thread(name))["notes"][:2] == [long, first]
        assert rows(path)["_chunks"] > 0
        saver.prune(["2", "3"], strategy="delete")

    assert set(rows(path).values()) == {0}
    assert long[:3_000].encode() not in path.read_bytes()


class Growing(TypedDict):
    items: int
    entries: Annotated[list[str], operator.add]


def grown(path: Path, items: int) -> Iterator[int]:
    """Let a list grow by one item at a step, and yield the size of the file after each 500 steps."""
    with PointsmanSaver.open(path) as saver:
        graph = StateGraph(Growing)
        graph.add_node("add", lambda state: {"entries": [f"entry {len(state['entries']):09} " + "x" * 100]})
        graph.add_edge(START, "add")
        graph.add_conditional_edges("add", lambda state: "add" if len(state["entries"]) % state["items"] else END, ["add", END])
        compiled = graph.compile(checkpointer=saver)
        for _ in range(items // 500):
            config = {**thread("1"), "recursion_limit": 10_000}
            state = compiled.invoke({"items": 500, "entries": []}, config)
            yield content_bytes(path)
        assert [entry[6:15] for entry in state["entries"]] == [f"{number:09}" for number in range(items)]


def content_bytes(path: Path) -> int:
    """The bytes of the rows of checkpoints."""
    with closing(sqlite3.connect(path)) as connection:
        return int(
            connection.execute(
                "SELECT (SELECT sum(length(body) + length(versions)) FROM checkpoints)"
                " + (SELECT sum(length(content)) FROM checkpoint_values) + (SELECT sum(length(content)) FROM checkpoint_chunks)"
                " + (SELECT sum(length(content)) FROM checkpoint_writes)"
            ).fetchone()[0]
        )


def test_a_growing_list_costs_what_it_grows_by(path: Path) -> None:
    sizes = list(grown(path, 1_500))
    slices = [after - before for before, after in zip([0, *sizes], sizes, strict=False)]

    print(f"bytes of each 500 steps: {slices}; whole lists would be {sum(range(500)) * 130}, {sum(range(1_000, 1_500)) * 130}")
    assert slices[2] < 1.3 * slices[1]  # whole lists would be 1.7 times as much
    assert sizes[-1] < sum(range(1_500)) * 130 / 20


@pytest.mark.parametrize("frequency", [3, 1_000])
def test_delta_channels_are_rebuilt_also_after_pruning(path: Path, frequency: int) -> None:
    class Deltas(TypedDict):
        entries: Annotated[
            list[str],
            DeltaChannel(lambda state, writes: [*(state or []), *(one for w in writes for one in w)], snapshot_frequency=frequency),
        ]

    with PointsmanSaver.open(path) as saver:
        graph = StateGraph(Deltas)
        graph.add_node("add", lambda state: {"entries": [f"entry {len(state['entries'])}"]})
        graph.add_edge(START, "add")
        graph.add_conditional_edges("add", lambda state: "add" if len(state["entries"]) % 10 else END, ["add", END])
        compiled = graph.compile(checkpointer=saver)
        compiled.invoke({"entries": ["first"]}, thread("1"))
        stored = len(list(saver.list(thread("1"))))
        saver.prune(["1"])
        left = len(list(saver.list(thread("1"))))
        state = compiled.get_state(thread("1")).values
        again = compiled.invoke({"entries": ["second"]}, thread("1"))["entries"]

    assert state["entries"] == ["first", *(f"entry {number}" for number in range(1, 10))]
    assert again[:11] == [*state["entries"], "second"]
    assert (left, stored) == (min(frequency, stored), 11) if frequency > 11 else left <= frequency + 1 < stored


class Foreign:
    """A class that msgpack does not know."""


def test_a_value_that_cannot_be_stored_is_named_and_pickle_has_to_be_asked_for(path: Path) -> None:
    with PointsmanSaver.open(path) as saver:
        graph = graph_on(saver)
        with pytest.raises(ValueRefused) as refused:
            graph.invoke({"notes": ["fine", {"lock": [1, threading.Lock()]}]}, thread("1"))
        assert "thread '1'" in str(refused.value)
        assert "its value['notes'][1]['lock'][1] is a lock" in str(refused.value)

    with PointsmanSaver.open(path, serde=JsonPlusSerializer(pickle_fallback=True)) as saver:
        state = graph_on(saver).invoke({"notes": [Foreign()]}, thread("2"))
        assert isinstance(state["notes"][0], Foreign)


def test_a_closed_saver_refuses_every_call(path: Path) -> None:
    with PointsmanSaver.open(path) as saver:
        pass

    for call in (lambda: saver.get_tuple(thread("1")), lambda: saver.delete_thread("1"), lambda: list(saver.list(None))):
        with pytest.raises(EngineStopped, match="is closed"):
            call()


@pytest.mark.parametrize("current", [None, 5, 2.5, f"{7:032}.{0.25:016}"])
def test_versions_rise_in_the_form_that_a_thread_has(path: Path, current: Any) -> None:
    with PointsmanSaver.open(path) as saver:
        versions = [saver.get_next_version(current, None)]
        for _ in range(20):
            versions.append(saver.get_next_version(versions[-1], None))
        forks = {saver.get_next_version(current, None) for _ in range(20)}

    assert versions == sorted(versions)
    assert current is None or versions[0] > current
    assert {type(version) for version in versions} == {int if current is None else type(current)}
    assert len(forks) == 20
