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
def test_the_saver_has_all_capabilities_of_the_published_suite(tmp_path: Path, place: str) -> None:
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

    for name, result in report.results.items():
        print(f"{place}: {name}: {result.tests_passed} passed, {result.tests_failed} failed, {result.tests_skipped} skipped")
    passed = sum(result.tests_passed for result in report.results.values())
    print(f"{place}: {len(report.results)} capabilities, {passed} tests passed")
    failures = [failure for result in report.results.values() for failure in result.failures]
    assert not failures
    assert {name for name, result in report.results.items() if result.passed} == {one.value for one in Capability}
    assert passed >= 78  # what the suite has in its release 0.0.2
