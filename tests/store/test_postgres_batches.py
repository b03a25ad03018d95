"""What a batch costs on PostgreSQL, counted, and that its short way writes what the long one does."""

import asyncio
import json
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pointsman.errors import Conflict, ValueRefused
from pointsman.kernel.rows import EventWrite, FieldWrite, Transition
from pointsman.kernel.snapshot import Status
from pointsman.store.postgres.line import Line
from pointsman.store.postgres.store import PostgresStore, open_postgres
from pointsman.testing.scenarios import new_case, next_of
from postgres_proxy import Proxy

pytestmark = pytest.mark.usefixtures("patient")

BUDGETS = json.loads((Path(__file__).parents[1] / "budgets.json").read_text(encoding="utf-8"))
TOGETHER = 64
HANGS_SECONDS = 600
LEASE_SECONDS = 3_600.0  # nothing here renews it


@pytest.fixture(name="proxy")
def _proxy(postgres_url: str) -> Iterator[Proxy]:
    with Proxy(postgres_url) as proxy:
        yield proxy


def run(url: str, scenario: Callable[[PostgresStore], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(HANGS_SECONDS):
            store = await open_postgres(url, lease_seconds=LEASE_SECONDS)
            try:
                await scenario(store)
            finally:
                await store.close()

    asyncio.run(whole())


def step_of(case: int, revision: int, **more: Any) -> Transition:
    """A step that writes a field and an event, as most do."""
    fields, events = [FieldWrite("text", '"written"', "write")], [EventWrite("node.succeeded", "write", 1, '{"fields":["text"]}')]
    return next_of(case, revision, 0, Status.RUNNING, **{"fields": fields, "events": events, **more})


@pytest.mark.parametrize("together", [1, TOGETHER])
def test_a_batch_costs_no_more_statements_and_commits_than_its_budget(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:  # fmt: skip
    statements = Counter[str]()
    execute = psycopg.AsyncCursor.execute

    def counted(cursor: Any, query: Any, *values: Any, **settings: Any) -> Any:
        text = query.decode() if isinstance(query, bytes) else str(query)
        statements[text.split()[0]] += "pg_notify" not in text
        return execute(cursor, query, *values, **settings)

    async def scenario(store: PostgresStore) -> None:
        cases = [await new_case(store, status=Status.RUNNING) for _ in range(together)]
        await asyncio.gather(*(store.commit(step_of(case, 1)) for case in cases))
        monkeypatch.setattr(psycopg.AsyncCursor, "execute", counted)
        await asyncio.gather(*(store.commit(step_of(case, 2)) for case in cases))
        budget = BUDGETS[f"{together} at once on PostgreSQL"]
        assert {name: count for name, count in statements.items() if count} == budget

    run(postgres_url, scenario)


def test_a_batch_takes_its_share_of_what_was_lately_under_way_and_not_of_what_waits_now(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    batches = list[int]()
    write = Line.write

    async def counted(line: Line, transitions: Sequence[Transition]) -> Sequence[Any]:
        batches.append(len(transitions))
        return await write(line, transitions)

    async def scenario(store: PostgresStore) -> None:
        cases = await asyncio.gather(*(new_case(store, status=Status.RUNNING) for _ in range(200)))
        monkeypatch.setattr(Line, "write", counted)
        await asyncio.gather(*(store.commit(step_of(case, 1)) for case in cases))
        await asyncio.gather(*(store.commit(step_of(case, 2)) for case in cases[:80]))
        assert batches == [100, 100, 80]

    run(postgres_url, scenario)


@pytest.mark.parametrize("reason", ["", " ", "\x1f", "\x1e", "a\x1fb\x1e", 'é "quoted" \\ {1,2} NULL\n', None])
@pytest.mark.parametrize("beside", [0, 2])
def test_every_text_is_stored_as_it_is(postgres_url: str, reason: str | None, beside: int) -> None:
    async def scenario(store: PostgresStore) -> None:
        case, *others = [await new_case(store, status=Status.RUNNING) for _ in range(1 + beside)]
        fields = [
            FieldWrite("text", json.dumps(reason), reason or ""),
            FieldWrite("gone", None, "write"),
            FieldWrite("log", "[1]", "w", True),
        ]
        await asyncio.gather(
            store.commit(step_of(case, 1, reason=reason, fields=fields)), *(store.commit(step_of(one, 1)) for one in others)
        )
        [row, *_] = await store.cases()
        assert (row.revision, row.reason, row.status) == (2, reason, Status.RUNNING)
        dossier = await store.dossier(case)
        assert dossier is not None
        written = [(write.field, write.text, write.writer, write.appends) for write in dossier.writes if write.revision == 2]
        assert sorted(written) == sorted((one.field, one.text, one.writer, one.appends) for one in fields)

    run(postgres_url, scenario)


@pytest.mark.parametrize("wake_at", [math.nan, math.inf])
def test_a_number_that_is_not_json_is_refused_alone(postgres_url: str, wake_at: float) -> None:
    async def scenario(store: PostgresStore) -> None:
        cases = [await new_case(store, status=Status.RUNNING) for _ in range(2)]
        wrong, right = (next_of(case, 1, 0, Status.WAITING, wake_at=at) for case, at in zip(cases, (wake_at, 30.0), strict=True))
        answers = await asyncio.gather(store.commit(wrong), store.commit(right), return_exceptions=True)
        assert isinstance(answers[0], ValueRefused)
        assert answers[1] == cases[1]

    run(postgres_url, scenario)


def test_a_refused_transition_of_a_batch_whose_answer_is_lost_is_still_refused(proxy: Proxy) -> None:
    async def scenario(store: PostgresStore) -> None:
        cases = [await new_case(store, status=Status.RUNNING) for _ in range(3)]
        proxy.cut_at_commit("after")
        answers = await asyncio.gather(*(store.commit(step_of(case, 1 + (case == cases[1]))) for case in cases), return_exceptions=True)
        assert proxy.cuts == 1
        assert store._writer.fates.found_committed == 1
        assert [answers[0], answers[2]] == [cases[0], cases[2]]
        assert isinstance(answers[1], Conflict)
        assert [row.revision for row in await store.cases()] == [2, 1, 2]

    run(proxy.url, scenario)


def test_transitions_of_a_case_are_committed_in_their_order_whatever_is_committed_beside_them(postgres_url: str) -> None:
    async def scenario(store: PostgresStore) -> None:
        cases = [await new_case(store, status=Status.RUNNING) for _ in range(TOGETHER)]
        steps = [store.commit(step_of(case, revision)) for revision in range(1, 6) for case in cases]
        await asyncio.gather(*steps)
        assert {row.revision for row in await store.cases()} == {6}

    run(postgres_url, scenario)
