"""A database that may have gone back in time: engines stop, call nothing, and wait for an operator."""

import asyncio
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from pointsman import AtMostOnce, Context, Engine, Process, State, StoreError, finish, otherwise, when
from pointsman.cli.main import app
from pointsman.store.postgres.connections import place_of
from pointsman.store.postgres.store import open_postgres
from pointsman.testing.scenarios import new_case
from postgres_proxy import Proxy
from postgres_server import Server

pytestmark = pytest.mark.usefixtures("patient")

HANG_SECONDS = 600
LEASE_SECONDS = 3_600.0  # nothing here renews it


@pytest.fixture(name="proxy")
def _proxy(postgres_url: str) -> Iterator[Proxy]:
    with Proxy(postgres_url) as proxy:
        yield proxy


def opens(url: str) -> str:
    """Open the database, and return why that is refused."""

    async def main() -> None:
        await (await open_postgres(url, lease_seconds=LEASE_SECONDS)).close()

    try:
        asyncio.run(main())
    except StoreError as error:
        return str(error)
    return ""


def confirm(url: str) -> int:
    return CliRunner().invoke(app, ["migrate", url, "--confirm-history"]).exit_code


def set_timeline(postgres: Server, url: str, text: str) -> None:
    postgres.execute(f"UPDATE {place_of(url).schema}.meta SET value = {text} WHERE name = 'timeline'")


@pytest.mark.parametrize("before", ["'1/00000001'", "left(value, -1) || 'F'"], ids=["another cluster", "another timeline"])
def test_a_database_on_another_timeline_is_opened_when_an_operator_has_confirmed_it(
    postgres: Server, postgres_url: str, before: str
) -> None:
    assert opens(postgres_url) == ""
    set_timeline(postgres, postgres_url, before)

    told = opens(postgres_url)

    assert "may have gone back in time" in told
    assert "run `pointsman migrate URL --confirm-history`" in told
    assert opens(postgres_url) == told
    assert confirm(postgres_url) == 0
    assert opens(postgres_url) == ""


def test_a_failover_that_loses_nothing_needs_no_operator(postgres: Server, postgres_url: str) -> None:
    url = f"{postgres_url}&failover=lossless"
    opens(url)

    set_timeline(postgres, url, "left(value, -1) || 'F'")
    assert opens(url) == ""
    set_timeline(postgres, url, "'1/00000001'")
    assert "may have gone back in time" in opens(url)
    with pytest.raises(StoreError, match="'fast' is no kind of failover; write"):
        place_of(f"{postgres_url}&failover=fast")


def test_an_engine_that_misses_its_own_commits_writes_nothing_more(postgres: Server, postgres_url: str, proxy: Proxy) -> None:
    async def main() -> None:
        store = await open_postgres(proxy.url, lease_seconds=LEASE_SECONDS)
        try:
            for _ in range(3):
                await new_case(store)
            postgres.execute(f"UPDATE {place_of(postgres_url).schema}.commits SET number = 2")
            proxy.cut_all()
            for _ in range(2):
                with pytest.raises(StoreError, match="had confirmed commit 3 of this engine, and has 2"):
                    await new_case(store)
            assert len(await store.cases()) == 3
        finally:
            await store.close()

    asyncio.run(asyncio.wait_for(main(), HANG_SECONDS))
    assert "an engine misses commits that it had confirmed" in opens(postgres_url)
    assert confirm(postgres_url) == 0
    assert opens(postgres_url) == ""


class Letter(State):
    text: str
    checked: bool | None = None
    receipt: str | None = None


def test_no_effect_is_called_after_a_promotion_until_an_operator_has_confirmed_it(postgres: Server, postgres_url: str) -> None:
    sent, cases = list[str](), list[int]()
    begun, goes_on = asyncio.Event(), asyncio.Event()
    process = Process("letters", Letter)

    @process.node(writes="checked")
    async def check(text: str) -> bool:
        begun.set()
        await goes_on.wait()
        return True

    @process.effect(writes="receipt", safety=AtMostOnce())
    async def send(text: str, *, ctx: Context) -> str:
        sent.append(text)
        return "sent"

    process.rules(
        when("it is not checked", lambda c: c.checked is None, check),
        when("it is not sent", lambda c: c.receipt is None, send),
        otherwise(finish("sent")),
    )

    async def before() -> None:
        async with Engine.open(postgres_url, [process], lease_seconds=LEASE_SECONDS) as engine:
            cases.append((await engine.start(process, Letter(text="hello"))).case)
            await begun.wait()
            await asyncio.to_thread(postgres.begin_timeline)
            goes_on.set()
            await engine.wait_until_resting(cases[0])

    async def after() -> None:
        async with Engine.open(postgres_url, [process], lease_seconds=LEASE_SECONDS) as engine:
            assert (await engine.wait_until_resting(cases[0])).outcome == "sent"

    with pytest.raises(StoreError, match="may have gone back in time"):
        asyncio.run(asyncio.wait_for(before(), HANG_SECONDS))
    assert "may have gone back in time" in opens(postgres_url)
    assert sent == []
    assert confirm(postgres_url) == 0
    asyncio.run(asyncio.wait_for(after(), HANG_SECONDS))
    assert sent == ["hello"]
