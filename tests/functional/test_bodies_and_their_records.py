"""What a body does depends on its record only: not on what it saw in memory, and not on where its calls stand."""

from typing import Any

from pointsman import quorum
from pointsman.definition.process import AnyProcess
from pointsman.functional import entrypoint, gather, task
from pointsman.functional.program import BodyProgram
from pointsman.functional.record import INVOCATION, RECORD, RESULT, RecordEntry
from pointsman.kernel.codec import codec_of
from pointsman.kernel.decide import Decision
from pointsman.kernel.snapshot import Cell


@task
async def find(name: str) -> str:
    return name.upper()


def cells(process: AnyProcess, *entries: RecordEntry) -> dict[str, Cell]:
    """The fields of a case whose record has these entries."""
    codec = codec_of(process.state)
    given = codec.encode(INVOCATION, {"input": None, "thread": "t", "id": "t"}, "")
    return {INVOCATION: given, RECORD: codec.encode(RECORD, [[entry] for entry in entries], "")}


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
