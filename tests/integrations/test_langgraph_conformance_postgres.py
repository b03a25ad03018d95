"""The published suite for LangGraph checkpointers, langgraph-checkpoint-conformance, on the checkpoints in PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability

from pointsman import Engine
from pointsman.integrations.langgraph import PointsmanSaver
from pointsman.store.memory import MemoryStore
from pointsman.store.postgres.checkpoints import PostgresCheckpoints
from pointsman.store.postgres.connections import Place, in_schema, place_of
from pointsman.store.statements import migrations
from postgres_server import Server


@pytest.fixture
def place(postgres: Server, postgres_url: str) -> Place:
    found = place_of(postgres_url)
    postgres.execute(f"CREATE SCHEMA {found.schema}")
    text = next(text for number, text in migrations("postgres") if number == 2)
    postgres.execute(in_schema(text, found.schema))
    return found


def test_the_saver_has_all_capabilities_of_the_published_suite_on_postgres(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = PostgresCheckpoints(place)

    class Store(MemoryStore):
        checkpoints = kept  # type: ignore[assignment]

    @checkpointer_test(name="PointsmanSaver, postgres")
    async def saver() -> AsyncIterator[PointsmanSaver]:
        async with Engine.open(tmp_path / "cases.db", [], store=Store()) as engine:
            yield PointsmanSaver(engine)

    report = asyncio.run(validate(saver))
    kept.close()

    results = report.results.values()
    passed, failed = sum(result.tests_passed for result in results), sum(result.tests_failed for result in results)
    with capsys.disabled():
        print(f"\npostgres: {sum(bool(one.passed) for one in results)} of {len(Capability)} capabilities, {passed} passed, {failed} failed")
    assert not [failure for result in results for failure in result.failures]
    assert {name for name, result in report.results.items() if result.passed} == {one.value for one in Capability}
    assert passed >= 81  # what the suite has in its release 0.0.2
