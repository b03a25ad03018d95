"""Fan-ins over several engines on one PostgreSQL: whoever brings the last part, the case goes on once, and it always does."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from random import Random

import pytest
from psycopg import AsyncConnection
from pydantic import BaseModel, Field

from pointsman import Engine, Log, Process, State, Status, finish, otherwise, when
from pointsman.kernel.rows import Address, NewCase, Post
from pointsman.store.postgres.store import PostgresStore, open_postgres
from pointsman.testing.scenarios import new_case
from postgres_server import Server
from tiers import figure, seed

ENGINES, BRANCHES = 4, 20
UNDERWAY = 8  # fan-ins at once
WAITS_FOR_A_LOCK = "SELECT DISTINCT pid FROM pg_locks WHERE NOT granted"
HANGS_SECONDS = 300  # and a second for each fan-in: far beyond what it takes


class Part(BaseModel):
    parcel: int
    number: int


class Parcel(State):
    number: int
    parts: Log[Part] = Field(default_factory=list)
    word: str | None = None
    joined: int | None = None


def parcels(joined: Counter[int]) -> Process[Parcel]:
    """A parcel is closed when all parts are in; `joined` counts how often each was."""
    process = Process("parcels", Parcel)
    process.accept(
        Part, writes="parts", correlate=lambda part: str(part.parcel), while_open="append", key=lambda part: f"{part.parcel} {part.number}",
        starts=False,
    )  # fmt: skip
    wait = process.pause(writes="word", answer=str, shows=("number",), name="wait")

    @process.node(writes="joined")
    async def join(number: int, parts: Log[Part]) -> int:
        joined[number] += 1
        return len({part.number for part in parts})

    process.rules(
        when("all parts are in", lambda c: c.joined is None and len(c.parts) == BRANCHES, join),
        when("parts are missing", lambda c: c.joined is None, wait),
        otherwise(finish("closed")),
    )
    return process


async def fan_in(engines: Sequence[Engine], number: int, random: Random) -> tuple[str | None, int | None]:
    """Start a parcel and send its parts by all engines at once. Return how it ended, and of how many parts it was made."""
    case = (await engines[0].start("parcels", {"number": number}, correlation=str(number))).case
    parts = [Part(parcel=number, number=branch) for branch in range(BRANCHES)]
    random.shuffle(parts)
    await asyncio.gather(*(engines[place % ENGINES].send("parcels", part) for place, part in enumerate(parts)))
    while (row := await engines[number % ENGINES].wait_until_resting(case)).status is not Status.DONE:  # noqa: ASYNC110 - rests again and again
        await asyncio.sleep(0.01)  # it rests at its pause between two parts
    return row.outcome, (await engines[0].state(case, Parcel)).joined


def test_every_fan_in_is_joined_once(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    count = figure("FAN_INS", 16)
    joined: Counter[int] = Counter()

    async def run() -> Counter[tuple[str | None, int | None]]:
        random, places = Random(seed()), asyncio.Semaphore(UNDERWAY)

        async def one(number: int) -> tuple[str | None, int | None]:
            async with places:
                return await fan_in(engines, number, random)

        async with asyncio.timeout(HANGS_SECONDS + count), AsyncExitStack() as stack:
            engines = [await stack.enter_async_context(Engine.open(postgres_url, [parcels(joined)])) for _ in range(ENGINES)]
            return Counter(await asyncio.gather(*map(one, range(count))))

    ends = asyncio.run(run())

    with capsys.disabled():
        twice = sum(times > 1 for times in joined.values())
        print(
            f"\n{count} fan-ins of {BRANCHES} branches over {ENGINES} engines: {len(joined)} joined, {twice} of them twice (seed {seed()})"
        )
    assert ends == {("closed", BRANCHES): count}
    assert joined == Counter(range(count))


def test_a_store_that_counts_without_a_lock_loses_parts(postgres: Server, postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    count = 4

    async def run() -> int:
        stores = [await open_postgres(postgres_url) for _ in range(ENGINES)]
        try:
            for store in stores:
                forget_the_lock(store)
            return await wrong_counts(postgres, stores, count)
        finally:
            for store in stores:
                await store.close()

    wrong = asyncio.run(run())

    with capsys.disabled():
        print(f"\na store that counts without a lock: {wrong} of {count} cases have a wrong count of their {BRANCHES} messages")
    assert wrong == count


def forget_the_lock(store: PostgresStore) -> None:
    """The control: the number of messages is read before the row is locked."""
    counted, seen = "inbox = inbox + 1", "inbox = (SELECT inbox + 1 FROM pointsman.cases AS seen WHERE seen.id = %(case)s)"
    sql = dict(store._writing.sql)
    assert counted in sql["wake_for_message"]
    sql["wake_for_message"] = sql["wake_for_message"].replace(counted, seen.replace("pointsman.", f"{store.connections.place.schema}."))
    store._writing.sql = sql


async def wrong_counts(server: Server, stores: Sequence[PostgresStore], count: int) -> int:
    """Post all messages of each case at once, and return how many cases do not have the right number of them.

    The row is locked until each store has read it.
    """
    cases = [await new_case(stores[0], new=NewCase("parcels", 1, None), status=Status.WAITING) for _ in range(count)]
    for case in cases:
        posts = [Post(Address("parcels", case=case), "part", f"{case} {branch}", "1", 20.0, "append") for branch in range(BRANCHES)]
        async with await AsyncConnection.connect(server.url) as other, asyncio.timeout(HANGS_SECONDS):
            await other.execute(f"SELECT FROM {stores[0].connections.place.schema}.cases WHERE id = {case} FOR UPDATE".encode())
            posting = asyncio.gather(*(stores[place % ENGINES].post(post) for place, post in enumerate(posts)))
            while len(await asyncio.to_thread(server.execute, WAITS_FOR_A_LOCK)) < ENGINES:  # noqa: ASYNC110 - it does not tell
                await asyncio.sleep(0.01)
        await posting
    return sum(row.inbox != BRANCHES for row in await stores[0].cases_of(cases))
