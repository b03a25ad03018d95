"""The checkpoints of LangGraph threads on PostgreSQL keep the promises of the contract."""

from concurrent.futures import Future
from typing import cast

import pytest

from pointsman.errors import EngineStopped
from pointsman.store.base import Store
from pointsman.store.checkpoints import ChannelValue, CheckpointId, CheckpointQuery, CheckpointWrite, Value
from pointsman.store.postgres.checkpoints import PostgresCheckpoints
from pointsman.store.postgres.connections import Place, in_schema, place_of
from pointsman.store.statements import migrations
from pointsman.testing.conformance_checkpoints import CheckpointConformance, noise
from pointsman.testing.scenarios import OpenStore
from postgres_server import Server

pytestmark = pytest.mark.usefixtures("patient")


class OnlyCheckpoints:
    """A store that has nothing but checkpoints."""

    def __init__(self, place: Place) -> None:
        self.checkpoints = PostgresCheckpoints(place)

    async def close(self) -> None:
        self.checkpoints.close()


@pytest.fixture
def place(postgres: Server, postgres_url: str) -> Place:
    found = place_of(postgres_url)
    postgres.execute(f"CREATE SCHEMA {found.schema}")
    text = next(text for number, text in migrations("postgres") if number == 2)
    postgres.execute(in_schema(text, found.schema))
    return found


class TestPostgresCheckpoints(CheckpointConformance):
    @pytest.fixture
    def open_store(self, place: Place) -> OpenStore:
        async def opened() -> Store:
            return cast("Store", OnlyCheckpoints(place))

        return opened


def put(kept: PostgresCheckpoints, id_: str, content: bytes) -> "Future[None]":
    new = [ChannelValue("list", id_, Value("bytes", content))]
    return kept.put(
        CheckpointWrite(CheckpointId("t", "", id_), None, None, {"list": id_}, Value("body", b""), '{"nul": "\\u0000\\ud800"}', new)
    )


def test_an_engine_stores_a_piece_again_that_another_engine_has_deleted(place: Place) -> None:
    ours, theirs = PostgresCheckpoints(place), PostgresCheckpoints(place)
    put(ours, "1", noise(9_000)).result()
    put(ours, "2", b"small").result()
    theirs.prune(["t"]).result()

    put(ours, "3", noise(9_000)).result()

    stored = theirs.get("t", "").result()
    assert stored is not None
    assert stored.values["list"].content == noise(9_000)
    assert theirs.find(CheckpointQuery("t", filter='{"nul": "\\u0000\\ud800"}')).result() == [stored, ours.get("t", "", "2").result()]
    ours.close()
    theirs.close()
    assert isinstance(ours.count("t").exception(), EngineStopped)


def test_two_engines_that_write_copy_and_prune_one_thread_at_once_lose_nothing(place: Place) -> None:
    engines = [PostgresCheckpoints(place), PostgresCheckpoints(place)]
    asked: list[Future[None]] = []
    for number in range(60):
        for which, kept in enumerate(engines):
            asked.append(put(kept, f"{number:03}", noise(6_000) + b"xy"[which : which + 1] * 3_000))
            if number % 10 == which:
                asked.extend((kept.prune(["t", "copy"]), kept.copy_thread("t", "copy"), kept.copy_thread("copy", "t")))

    for one in asked:
        one.result(timeout=600)

    found = engines[0].find(CheckpointQuery("t")).result()
    assert found[0].at.id == "059"
    assert {one.values["list"].content[:6_000] for one in found} == {noise(6_000)}
    for kept in engines:
        kept.close()
