"""The cache of recent cases never serves an old state, forgets ended cases, and is bounded."""

import asyncio
from typing import Any

import pytest
from places import Place, run

from pointsman import Engine, Process, State, Status, finish, otherwise, when
from pointsman.kernel.codec import codec_of
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import Snapshot
from pointsman.runtime.recent import Recent
from pointsman.store.memory import MemoryStore
from pointsman.testing.clock import ManualClock


class Letter(State):
    text: str
    answer: str | None = None


def letters() -> Process[Letter]:
    process = Process("letters", Letter)
    ask = process.pause(writes="answer", answer=str, shows=("text",))
    process.accept(str, writes="text", correlate=lambda text: "one", starts=False)
    process.rules(when("no answer", lambda c: c.answer is None, ask), otherwise(finish("answered")))
    return process


def remembered(engine: Engine) -> set[int]:
    return set(engine._cases._loader._recent.revisions())


def test_nothing_is_remembered_of_a_case_that_has_ended(place: Place) -> None:
    process = letters()

    async def main() -> None:
        async with place.open(process) as engine:
            cases = [(await engine.start(process, Letter(text="secret"))).case for _ in range(3)]
            await engine.idle()
            assert remembered(engine) == set(cases)
            await engine.resume((await engine.pending(cases[0])).token, "yes", by="anna")
            await engine.cancel(cases[1], by="anna", why="withdrawn")
            assert remembered(engine) == {cases[2]}

    run(main())


def test_another_engine_moves_a_case_and_this_one_sees_it() -> None:
    process, clock = letters(), ManualClock()
    store = MemoryStore(lease_seconds=60.0, now=clock.now)

    async def rests(case: int) -> None:
        while (row := await store.case(case)) is None or row.status is not Status.WAITING or row.inbox:  # noqa: ASYNC110 - an engine is not told of what another one did
            await asyncio.sleep(0)

    async def main() -> None:
        one = Engine.open(":memory:", [process], store=store.beside(), clock=clock)
        other = Engine.open(":memory:", [process], store=store.beside(), clock=clock)
        async with one as first, other as second:
            case = (await first.start(process, Letter(text="a"), correlation="one")).case
            for text, sender in (("b", second), ("c", first), ("d", second), ("e", second), ("f", first)):
                await rests(case)
                await sender.send(process, text)
                await rests(case)
                assert [(await engine.state(case, Letter)).text for engine in (first, second)] == [text, text]

    run(main())


def row(case: int, revision: int) -> CaseRow:
    return CaseRow(case, "letters", 1, None, "waiting", revision, 0, None, 0, 0, None, None, None, None, 0.0, 0.0)  # type: ignore[arg-type]


def kept(recent: Recent, process: Process[Any], case: int, revision: int, text: str = "x") -> None:
    recent.keep(process, Snapshot(case, {"text": codec_of(Letter).encode("text", text, "")}, revision))


def test_only_the_revision_and_the_code_that_are_known_are_answered() -> None:
    recent, process = Recent(), letters()
    kept(recent, process, 1, 4)

    assert recent.cells(process, row(1, 4)) is not None
    assert recent.cells(process, row(1, 5)) is None
    assert recent.cells(process, row(1, 4)._replace(version=2)) is None
    assert recent.cells(letters(), row(1, 4)) is None
    assert recent.cells(process, row(2, 4)) is None


@pytest.mark.parametrize(("bound", "value"), [("CASES_MAX", 10), ("BYTES_MAX", 1_020)])
def test_the_longest_unmoved_are_forgotten_first(monkeypatch: pytest.MonkeyPatch, bound: str, value: int) -> None:
    monkeypatch.setattr(f"pointsman.runtime.recent.{bound}", value)
    recent, process = Recent(), letters()

    for case in range(1, 31):
        kept(recent, process, case, 1, "x" * 100)
        kept(recent, process, 1, case, "x" * 100)

    assert set(recent.revisions()) == {1, *range(22, 31)}
