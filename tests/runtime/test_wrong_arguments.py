"""A wrong argument to the engine raises one error that names it and says what to pass."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from places import Place, run

from pointsman import Engine, Process, State, each, finish, open_blocking, otherwise, parallel, when
from pointsman.definition.state import State as Base
from pointsman.errors import DefinitionError, PointsmanError, StoreUnwritable, ValueRefused


class Job(State):
    x: str
    r: str | None = None
    note: str | None = None


def jobs() -> Process[Job]:
    process = Process("jobs", Job)

    @process.node(writes="r")
    async def work(x: str) -> str:
        return x

    process.accept(str, writes="note", correlate=lambda text: text, starts=False)
    process.rules(when("open", lambda job: job.r is None, work), otherwise(finish("done")))
    return process


PRIORITIES: tuple[Any, ...] = (1.5, None, "1", True, 2**70)
CALLS: dict[str, Callable[[Engine, Any], Awaitable[object]]] = {
    "start": lambda engine, given: engine.start("jobs", Job(x="1"), priority=given),
    "send": lambda engine, given: engine.send("jobs", "a message", priority=given),
    "wait_until_resting": lambda engine, given: engine.wait_until_resting(given),
    "cancel": lambda engine, given: engine.cancel(given, by="anna", why="a test"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("given", PRIORITIES, ids=repr)
def test_a_number_is_an_int_of_sixty_four_bits(place: Place, call: str, given: Any) -> None:
    async def main() -> str:
        async with place.open(jobs()) as engine:
            with pytest.raises(ValueRefused) as refused:
                await CALLS[call](engine, given)
            return str(refused.value)

    if call in {"start", "send"}:
        assert run(main()) == f"priority: {given!r} is not an int of at most 64 bits; give it one."
    elif not isinstance(given, int):
        assert run(main()) == f"case: {given!r} is not an int of at most 64 bits; give it one."


@pytest.mark.parametrize("by", [None, "", "  "])
def test_an_operator_must_have_a_name(place: Place, by: Any) -> None:
    async def main() -> str:
        async with place.open(jobs()) as engine:
            with pytest.raises(ValueRefused) as refused:
                await engine.resume("a token", "yes", by=by)
            return str(refused.value)

    assert run(main()).startswith("by: it is empty")


@pytest.mark.parametrize(
    "given", [1, None, "jobs", [1], jobs()], ids=["a number", "None", "a name", "a list of something else", "one process"]
)
def test_an_engine_is_given_a_list_of_processes(place: Place, given: Any) -> None:
    with pytest.raises(DefinitionError, match="is not a list of processes"), open_blocking(place.path, given):
        pass


@pytest.mark.parametrize("given", ["", None, 5, b"cases.db", ":memory:", "a\0b"], ids=repr)
def test_an_engine_is_given_a_path(given: Any) -> None:
    with pytest.raises(StoreUnwritable, match="is not the path of a file"), open_blocking(given, [jobs()]):
        pass


@pytest.mark.parametrize(
    "given",
    [
        {"concurrency": -1},
        {"concurrency": "5"},
        {"concurrency": None},
        {"threads": 0},
        {"threads": 2.5},
        {"threads": True},
        {"grace_seconds": -1},
        {"grace_seconds": float("nan")},
        {"grace_seconds": "1"},
    ],
    ids=repr,
)
def test_an_engine_is_given_numbers_with_which_it_can_work(place: Place, given: dict[str, Any]) -> None:
    [(name, value)] = given.items()
    with pytest.raises(DefinitionError) as refused, open_blocking(place.path, [jobs()], **given):
        pass

    assert str(refused.value).startswith(f"{name}={value!r}: give Engine.open a ")


def test_a_step_of_several_nodes_holds_no_other_such_step() -> None:
    class Fan(Base):
        xs: list[str]
        a: list[str] | None = None
        b: str | None = None

    process = Process("fan", Fan)

    @process.node(writes="b")
    async def b() -> str:
        return "b"

    step: Any = parallel(each(b, over="xs"), b)  # type: ignore[arg-type]
    with pytest.raises(PointsmanError, match="cannot be a branch of parallel"):
        process.rules(when("open", lambda c: c.b is None, step), otherwise(finish("done")))
