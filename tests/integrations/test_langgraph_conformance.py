"""The published suite for LangGraph checkpointers, langgraph-checkpoint-conformance, on every way to have our saver."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability

from pointsman import Engine
from pointsman.integrations.langgraph import PointsmanSaver
from pointsman.store.memory import MemoryStore


@pytest.mark.parametrize("place", ["file", "beside an engine", "memory"])
def test_the_saver_has_all_capabilities_of_the_published_suite(tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    @checkpointer_test(name=f"PointsmanSaver, {place}")
    async def saver() -> AsyncIterator[PointsmanSaver]:
        if place == "file":
            async with PointsmanSaver.open(tmp_path / "cases.db") as opened:
                yield opened
        else:
            store = MemoryStore() if place == "memory" else None
            async with Engine.open(tmp_path / "cases.db", [], store=store) as engine:
                yield PointsmanSaver(engine)

    report = asyncio.run(validate(saver))

    results = report.results.values()
    passed, failed = sum(result.tests_passed for result in results), sum(result.tests_failed for result in results)
    with capsys.disabled():
        print(
            f"\n{place}: {sum(bool(one.passed) for one in results)} of {len(Capability)} capabilities, {passed} passed, {failed} failed: ",
            end="",
        )
        print(", ".join(f"{name} {result.tests_passed}" for name, result in report.results.items()))
    failures = [failure for result in report.results.values() for failure in result.failures]
    assert not failures
    assert {name for name, result in report.results.items() if result.passed} == {one.value for one in Capability}
    assert passed >= 81  # what the suite has in its release 0.0.2
