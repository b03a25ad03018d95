"""The published suite for LangGraph checkpointers, langgraph-checkpoint-conformance, on a PostgreSQL database."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability

from pointsman.integrations.langgraph import PointsmanSaver


@pytest.mark.usefixtures("patient")
def test_the_saver_has_all_capabilities_of_the_published_suite_on_postgres(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    @checkpointer_test(name="PointsmanSaver, postgres")
    async def saver() -> AsyncIterator[PointsmanSaver]:
        async with PointsmanSaver.open(postgres_url) as opened:
            yield opened

    report = asyncio.run(validate(saver))

    results = report.results.values()
    passed, failed = sum(result.tests_passed for result in results), sum(result.tests_failed for result in results)
    with capsys.disabled():
        print(f"\npostgres: {sum(bool(one.passed) for one in results)} of {len(Capability)} capabilities, {passed} passed, {failed} failed")
    assert not [failure for result in results for failure in result.failures]
    assert {name for name, result in report.results.items() if result.passed} == {one.value for one in Capability}
    assert passed >= 81  # what the suite has in its release 0.0.2
