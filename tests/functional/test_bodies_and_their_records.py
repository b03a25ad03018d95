"""What a body does depends on its record only: not on what it saw in memory, and not on where its calls stand."""

import gc
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman import AtMostOnce, quorum
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Finish, Park, Tasks
from pointsman.functional import entrypoint, gather, pause, task
from pointsman.functional.body import Body
from pointsman.functional.program import BodyProgram
from pointsman.functional.record import ASKED, INVOCATION, RECORD, RESULT, RecordEntry
from pointsman.kernel.codec import codec_of
from pointsman.kernel.decide import Decision
from pointsman.kernel.snapshot import Cell


@task
async def find(name: str) -> str:
    return name.upper()


def cells(process: AnyProcess, *entries: RecordEntry, given: Any = None) -> dict[str, Cell]:
    """The fields of a case whose record has these entries."""
    codec = codec_of(process.state)
    invocation = codec.encode(INVOCATION, {"input": given, "thread": "t", "id": "t"}, "")
    return {INVOCATION: invocation, RECORD: codec.encode(RECORD, [[entry] for entry in entries], "")}


def result(decision: Decision) -> Any:
    return decision.writes[RESULT].value


def test_a_body_that_has_decided_what_another_engine_recorded_otherwise_does_not_go_on() -> None:
    @entrypoint()
    def first(given: None) -> list[Any]:
        found = gather(find("a"), find("b"), failures=quorum(1)).result()
        find("c").result()
        return [one if isinstance(one, str) else one.error for one in found]

    process = first.process
    here, elsewhere = BodyProgram(process), BodyProgram(process)
    a, b = [call.name for call in here.next(1, cells(process)).step.calls]
    seen = RecordEntry(call=a, value="A")
    decided = here.next(1, cells(process, seen))  # its commit fails, and the other engine decides when both have ended
    [c] = decided.step.calls
    [verdict] = decided.writes[RECORD].value
    late = [
        seen,
        RecordEntry(call=b, value="B"),
        RecordEntry(call=verdict["call"], value={"ended": [a, b]}),
        RecordEntry(call=c.name, value="C"),
    ]

    assert verdict["value"] == {"ended": [a]}
    assert result(elsewhere.next(1, cells(process, *late))).value == ["A", "B"]
    assert result(here.next(1, cells(process, *late))).value == ["A", "B"]


def test_a_body_that_is_dropped_is_freed_and_calls_nothing_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    @entrypoint()
    def tidy(given: Any) -> None:
        try:
            find("a").result()
        finally:
            find("b").result()

    monkeypatch.setattr("pointsman.functional.program.BODIES_MAX", 5)
    program = BodyProgram(tidy.process)
    for case in range(20):
        assert len(program.next(case, cells(tidy.process)).step.calls) == 1
        program.next(case, cells(tidy.process, given="something else"))
        program.describe(cells(tidy.process))

    gc.collect()
    # `isinstance` would ask each object for its class, and a weak proxy that another test has left may raise then.
    assert sum(issubclass(type(one), Body) and one.steps is tidy.process.steps for one in gc.get_objects()) == 5


# Edits of a body while its case waits.

Line = tuple[str, str]


@task(safety=AtMostOnce())
async def charge(name: str) -> str:
    return name


@entrypoint()
def straight(given: list[Line]) -> list[Any]:
    results = []
    for kind, name in given:
        results.append(pause(name, name="ask") if kind == "ask" else {"find": find, "charge": charge}[kind](name).result())
    return results


LINES = st.tuples(st.sampled_from(["find", "charge", "ask"]), st.sampled_from("abc"))


@st.composite
def edits(draw: st.DrawFn) -> tuple[list[Line], int, list[Line]]:
    """A body, how many of its calls have ended, and the body after some insertions, removals and moves."""
    before = draw(st.lists(LINES, max_size=6))
    after = [*before]
    for kind in draw(st.lists(st.sampled_from(["insert", "remove", "move"]), min_size=1, max_size=4)):
        if kind == "insert":
            after.insert(draw(st.integers(0, len(after))), draw(LINES))
        elif after:
            line = after.pop(draw(st.integers(0, len(after) - 1)))
            if kind == "move":
                after.insert(draw(st.integers(0, len(after))), line)
    return before, draw(st.integers(0, len(before))), after


def numbered(lines: list[Line]) -> list[tuple[str, str, int]]:
    """The calls, each with how often it was made before: what an outcome belongs to."""
    made = Counter[Line]()
    calls = []
    for line in lines:
        calls.append((*line, made[line]))
        made[line] += 1
    return calls


def played(lines: list[Line], record: list[RecordEntry], calls_max: int = 100) -> Decision:
    """Run a body over the record in a new process, and execute and record what it asks for. Each result is another one."""
    program = BodyProgram(straight.process)
    while True:
        decision = program.next(1, cells(straight.process, *record, given=lines))
        if isinstance(decision.step, Finish | Park) or calls_max == 0:
            return decision
        record += decision.writes[RECORD].value if RECORD in decision.writes else []
        [call] = [call.name for call in decision.step.calls] if isinstance(decision.step, Tasks) else [decision.writes[ASKED].value.call]
        assert call not in {entry["call"] for entry in record}, f"{call} is recorded, and is executed again"
        record.append(RecordEntry(call=call, value=f"result {len(record)}"))
        calls_max -= 1


@settings(max_examples=300, deadline=None, derandomize=True)
@given(edits())
def test_an_edit_of_a_body_executes_no_recorded_call_again_and_swaps_no_answers(edit: tuple[list[Line], int, list[Line]]) -> None:
    before, ended, after = edit
    record: list[RecordEntry] = []
    played(before, record, ended)
    known = dict(zip(numbered(before), [entry["value"] for entry in record], strict=False))

    decision = played(after, record)

    calls = numbered(after)
    missing, new = known.keys() - {*calls}, [call for call in calls if call not in known]
    if isinstance(decision.step, Park):  # an effect that is asked for before a recorded one could be that one with other arguments
        kept = [place for place, call in enumerate(calls) if call in known and call[0] == "charge"]
        assert missing or any(call[0] == "charge" and any(calls.index(call) < place for place in kept) for call in new), decision
        return
    results = result(decision).value
    assert [value for call, value in zip(calls, results, strict=True) if call in known] == [known[call] for call in calls if call in known]
    assert len({*results}) == len(results)
    assert all(call[0] != "charge" and call[0] in {one[0] for one in new} for call in missing), "it left a recorded call out"


def test_a_result_that_is_found_by_the_place_of_its_call_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Body.ask
    monkeypatch.setattr(Body, "ask", lambda self, wanted: ask(self, replace(wanted, digest=str(len(self.calls)))))

    with pytest.raises((AssertionError, ExceptionGroup)):
        test_an_edit_of_a_body_executes_no_recorded_call_again_and_swaps_no_answers()
