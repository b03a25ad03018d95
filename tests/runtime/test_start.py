"""Starts: one case for each key, no invalid inputs, and never more running cases than places."""

import asyncio
from collections import Counter
from typing import Annotated, Any

import pytest
from places import Place, run
from pydantic import AfterValidator

from pointsman import (
    Context,
    Engine,
    Idempotent,
    PointsmanError,
    Process,
    State,
    Status,
    finish,
    otherwise,
    parallel,
    when,
)
from pointsman.errors import InputInvalid, UnknownProcess, ValueRefused
from pointsman.runtime.cases import BLOCK_NUMBERS
from pointsman.store.memory import MemoryStore


class Mail(State):
    message: str
    weight: float = 1.0
    topic: str | None = None
    order: str | None = None


def sorting(calls: list[str] | None = None) -> Process[Mail]:
    process = Process("mail", Mail)

    @process.node(writes="topic")
    async def sort(message: str) -> str:
        (calls if calls is not None else []).append(message)
        return "refund"

    @process.node(writes="order")
    async def fetch(topic: str) -> str:
        return "4711"

    process.rules(
        when("unsorted", lambda c: c.topic is None, sort),
        when("no order", lambda c: c.order is None, fetch),
        otherwise(finish("sorted")),
    )
    return process


def test_a_repeated_start_is_the_same_case_and_runs_once(place: Place) -> None:
    calls: list[str] = []
    process = sorting(calls)

    async def main() -> tuple[Any, Any, Any]:
        async with place.open(process) as engine:
            first = await engine.start(process, {"message": "one"}, key="k")
            await engine.wait_until_resting(first.case)
            return (
                first,
                await engine.start(process, {"message": "another"}, key="k"),
                await engine.state(first.case, State),
            )

    first, again, state = run(main())

    assert (first.duplicate, again.duplicate, again.case) == (False, True, first.case)
    assert (calls, state.message) == (["one"], "one")


def test_a_start_is_known_by_its_key_after_the_engine_was_opened_again(place: Place) -> None:
    process = sorting()

    async def start() -> Any:
        async with place.open(process) as engine:
            return await engine.start(process, {"message": "one"}, key="k")

    first = run(start())
    again = run(start())

    assert (again.case, again.duplicate) == (first.case, True)


def test_of_many_starts_at_once_with_one_key_one_creates_the_case(place: Place) -> None:
    calls: list[str] = []
    process = sorting(calls)

    async def main() -> tuple[list[Any], Any]:
        async with place.open(process) as engine:
            started = await asyncio.gather(*(engine.start(process, {"message": str(n)}, key="k") for n in range(20)))
            await engine.idle()
            return started, await engine.reader.counts()

    started, counts = run(main())

    assert {answer.case for answer in started} == {started[0].case}
    assert [answer.duplicate for answer in started].count(False) == 1
    assert (len(calls), counts) == (1, {Status.DONE: 1})


def test_starts_without_a_key_are_cases_of_their_own(place: Place) -> None:
    process = sorting()

    async def main() -> set[int]:
        async with place.open(process) as engine:
            return {(await engine.start(process, Mail(message="same"))).case for _ in range(3)}

    assert len(run(main())) == 3


BAD_INPUTS: list[tuple[Any, type[PointsmanError], str, str]] = [
    ({}, InputInvalid, "message", "required"),
    ({"message": 5}, InputInvalid, "message", "string"),
    ({"message": "m", "topic": "refund"}, InputInvalid, "'topic'", "leave it out"),
    ({"message": "m", "mesage": "m"}, InputInvalid, "mesage", "not permitted"),
    ({"message": "m", "weight": float("nan")}, ValueRefused, "weight", "use None or a text"),
    ({"message": "m", "weight": float("inf")}, ValueRefused, "weight", "use None or a text"),
    ({"message": "a\0b"}, ValueRefused, "message", "remove it"),
    ({"message": "a\udce9b"}, ValueRefused, "message", "decode the text properly"),
    ("a text", InputInvalid, "'mail'", ""),
    (None, InputInvalid, "'mail'", ""),
]


@pytest.mark.parametrize(("inputs", "error", "named", "mend"), BAD_INPUTS)
def test_inputs_that_do_not_fit_are_refused_in_one_sentence_and_nothing_is_stored(
    place: Place, inputs: Any, error: type[PointsmanError], named: str, mend: str
) -> None:
    process = sorting()

    async def main() -> tuple[str, Any, Any]:
        async with place.open(process) as engine:
            with pytest.raises(error) as raised:
                await engine.start(process, inputs, key="k")
            return str(raised.value), await engine.reader.cases(), await engine.reader.events()

    text, cases, events = run(main())

    assert named in text
    assert mend in text
    assert (text.count("\n"), text[-1]) == (0, ".")
    assert (cases, events) == ([], [])


def test_inputs_that_slipped_past_the_states_own_validation_are_refused(place: Place) -> None:
    process = sorting()

    async def main() -> Any:
        async with place.open(process) as engine:
            with pytest.raises(ValueRefused, match="message"):
                await engine.start(process, Mail.model_construct(message=5))
            return await engine.reader.cases()

    assert run(main()) == []


def test_a_state_that_was_made_without_a_required_field_is_refused(place: Place) -> None:
    async def main() -> None:
        async with place.open(sorting()) as engine:
            with pytest.raises(InputInvalid, match="field 'message' is missing"):
                await engine.start("mail", Mail.model_construct())

    run(main())


@pytest.mark.parametrize("named", ["key", "correlation"])
def test_an_empty_key_is_no_key(on_disk: Place, named: str) -> None:
    async def main() -> Any:
        async with on_disk.open(sorting()) as engine:
            with pytest.raises(InputInvalid, match=f"the {named} is empty; pass a text, or None for no {named}"):
                await engine.start("mail", {"message": "m"}, **{named: ""})
            return await engine.reader.counts()

    assert run(main()) == {}


def test_a_start_with_the_state_of_another_process_is_refused(on_disk: Place) -> None:
    class Other(State):
        message: str

    async def main() -> Any:
        async with on_disk.open(sorting()) as engine:
            with pytest.raises(InputInvalid, match="process 'mail' cannot start with a Other; give it a"):
                await engine.start("mail", Other(message="m"))
            return await engine.reader.counts()

    assert run(main()) == {}


def test_a_key_that_no_database_can_hold_is_refused_in_words(on_disk: Place) -> None:
    process = sorting()

    async def main() -> Any:
        async with on_disk.open(process) as engine:
            with pytest.raises(PointsmanError, match="key"):
                await engine.start(process, {"message": "m"}, key="<a\udce9@shop.example>")
            return await engine.reader.cases()

    assert run(main()) == []


@pytest.mark.parametrize(("name", "do"), [("mial", "did you mean 'mail'?"), ("claims", "pass it to Engine.open, or name it with --app.")])
def test_an_unknown_process_is_refused_with_the_names_of_those_that_are_known(place: Place, name: str, do: str) -> None:
    process = sorting()

    async def main() -> str:
        async with place.open(process) as engine:
            with pytest.raises(UnknownProcess) as raised:
                await engine.start(name, {"message": "m"})
            assert await engine.reader.cases() == []
            return str(raised.value)

    assert run(main()) == f"process {name!r} is not registered with this engine, which has mail; {do}"


def first_step(kind: str) -> Process[Mail]:
    process = Process("mail", Mail)

    @process.node(writes="topic")
    async def sort(message: str) -> str:
        return "refund"

    @process.node(writes="order")
    async def fetch(message: str) -> str:
        return "4711"

    @process.effect(writes="order", safety=Idempotent())
    async def book(message: str, *, ctx: Context) -> str:
        return ctx.key

    ask = process.pause(writes="topic", answer=str, shows=("message",))
    steps = {"pause": ask, "effect": book, "parallel": parallel(sort, fetch), "finish": finish("at once")}
    process.rules(
        when("first", lambda c: c.topic is None and c.order is None, steps[kind]),
        when("never 1", lambda c: c.message == "1", ask),
        when("never 2", lambda c: c.message == "2", book),
        when("never 3", lambda c: c.message == "3", parallel(sort, fetch)),
        otherwise(finish("later")),
    )
    return process


@pytest.mark.parametrize(
    ("kind", "status", "outcome"),
    [
        ("pause", Status.WAITING, None),
        ("finish", Status.DONE, "at once"),
        ("effect", Status.DONE, "later"),
        ("parallel", Status.DONE, "later"),
    ],
)
def test_the_first_rule_may_name_any_kind_of_step(place: Place, kind: str, status: Status, outcome: str | None) -> None:
    process = first_step(kind)

    async def main() -> Any:
        async with place.open(process) as engine:
            return await engine.wait_until_resting((await engine.start(process, {"message": "m"})).case)

    row = run(main())

    assert (row.status, row.outcome, row.reason) == (status, outcome, None)


class Gate:
    """Lets nobody through until it is opened, and counts who stands before it."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.opened = asyncio.Event()
        self.reached = asyncio.Event()

    async def pass_through(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.reached.set()
        await self.opened.wait()
        self.inside -= 1


def gated(gate: Gate) -> Process[Mail]:
    process = Process("gated", Mail)

    @process.node(writes="topic")
    async def wait(message: str) -> str:
        await gate.pass_through()
        return message

    @process.node(writes="order")
    async def fetch(topic: str) -> str:
        return topic

    process.rules(
        when("closed", lambda c: c.topic is None, wait),
        when("no order", lambda c: c.order is None, fetch),
        otherwise(finish("through")),
    )
    return process


def test_many_starts_at_once_run_no_more_cases_than_the_concurrency(place: Place) -> None:
    gate = Gate()
    process = gated(gate)

    async def main() -> tuple[int, Any]:
        async with place.open(process, concurrency=3) as engine:
            await asyncio.gather(*(engine.start(process, {"message": str(n)}) for n in range(30)))
            inside = gate.most
            gate.opened.set()
            await engine.idle()
            return inside, await engine.reader.counts()

    inside, counts = run(main())

    assert inside <= 3
    assert gate.most <= 3
    assert counts == {Status.DONE: 30}


def test_starts_beyond_the_concurrency_are_kept_and_run_when_there_is_room(place: Place) -> None:
    gate = Gate()
    process = gated(gate)

    async def main() -> tuple[Any, int, Any]:
        async with place.open(process, concurrency=2) as engine:
            for n in range(6):
                await engine.start(process, {"message": str(n)})
            before = Counter(row.status for row in await engine.reader.cases())
            gate.opened.set()
            await engine.idle()
            return before, gate.most, await engine.reader.counts()

    before, most, after = run(main())

    assert before == {Status.RUNNING: 2, Status.READY: 4}
    assert most <= 2
    assert after == {Status.DONE: 6}


def test_an_accepted_case_is_there_when_the_engine_is_opened_again(place: Place) -> None:
    gate = Gate()
    process = gated(gate)

    async def begin() -> int:
        async with place.open(process) as engine:
            started = await engine.start(process, {"message": "kept"})
            await gate.reached.wait()
            return started.case

    async def go_on(case: int) -> tuple[Any, Any]:
        gate.opened.set()
        async with place.open(process) as engine:
            return await engine.wait_until_resting(case), await engine.state(case, State)

    row, state = run(go_on(run(begin())))

    assert (row.status, row.outcome) == (Status.DONE, "through")
    assert (state.message, state.order) == ("kept", "kept")


def test_the_numbers_of_many_starts_are_reserved_in_blocks(on_disk: Place) -> None:
    process = sorting()

    async def main() -> tuple[list[int], list[int]]:
        async with on_disk.open(process) as engine:
            asked, reserve = [], engine._store.reserve

            async def counted(count: int) -> range:
                asked.append(count)
                await asyncio.sleep(0)
                return await reserve(count)

            engine._store.reserve = counted  # type: ignore[method-assign]
            started = await asyncio.gather(*(engine.start(process, {"message": "hello"}) for _ in range(BLOCK_NUMBERS + 20)))
            return asked, [one.case for one in started]

    asked, cases = run(main())

    assert asked == [BLOCK_NUMBERS] * 2
    assert sorted(cases) == list(range(1, BLOCK_NUMBERS + 21))


def test_what_a_validator_of_the_author_raises_refuses_the_start_or_the_message() -> None:
    def known(name: str) -> str:
        return {"ada": name}[name]

    class Note(State):
        name: Annotated[str, AfterValidator(known)]

    notes = Process("notes", Note)
    notes.accept(str, writes="name", correlate=lambda name: {"ada": name, "eve": name}[name])
    notes.rules(otherwise(finish("read")))

    async def main() -> list[str]:
        said = []
        async with Engine.open("unused", [notes], store=MemoryStore()) as engine:
            for call in (engine.start(notes, {"name": "eve"}), engine.send("notes", "eve"), engine.send("notes", "bob")):
                with pytest.raises(InputInvalid) as raised:
                    await call
                said.append(str(raised.value))
        return said

    started, starting, correlated = run(main())

    assert "process 'notes' cannot start: Note raised KeyError: 'eve'; correct the inputs, or the validator that raised it." in started
    assert "Note raised KeyError: 'eve'" in starting
    assert "process 'notes' cannot take this 'name': KeyError: 'bob'; correct the message, or the function that raised it." in correlated


def test_what_the_authors_function_for_the_inputs_raises_refuses_the_message() -> None:
    process = sorting()
    process.accept(str, writes="message", correlate=lambda text: text, starts=lambda text: {}[text])

    async def main() -> tuple[str, Any]:
        async with Engine.open("unused", [process], store=MemoryStore()) as engine:
            with pytest.raises(InputInvalid) as raised:
                await engine.send("mail", "hello")
            return str(raised.value), await engine.reader.counts()

    assert run(main()) == (
        "process 'mail' cannot take this 'message': KeyError: 'hello'; correct the message, or the function that raised it.",
        {},
    )
