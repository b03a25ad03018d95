"""Two engines on one PostgreSQL database run the same processes together."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from places import LEASE_SECONDS
from psycopg import AsyncConnection
from pydantic import BaseModel

from pointsman import Context, Engine, Idempotent, Process, State, finish, otherwise, when
from pointsman.definition.children import ChildEnd
from pointsman.errors import AlreadyAnswered, DefinitionError
from pointsman.kernel.snapshot import Status
from postgres_server import Server

pytestmark = pytest.mark.usefixtures("patient")
HANG_SECONDS = 300.0  # far longer than a test takes on a busy machine
CASES = 20


class Approval(BaseModel):
    approved: bool


class Parcel(State):
    address: str
    label: str | None = None


class Mail(State):
    text: str
    topic: str | None = None
    label: str | ChildEnd | None = None
    approval: Approval | None = None
    receipt: str | None = None


def processes() -> tuple[Process[Mail], Process[Parcel]]:
    """A mail is classified, gets a label from a child, waits for a person, and is answered once."""
    parcels = Process("parcels", Parcel)

    @parcels.node(writes="label")
    async def print_label(address: str) -> str:
        return f"label for {address}"

    parcels.rules(when("no label", lambda p: p.label is None, print_label), otherwise(finish("shipped")))
    mails = Process("mails", Mail)

    @mails.node(writes="topic")
    async def classify(text: str) -> str:
        return text.split(maxsplit=1)[0]

    def inputs(text: str) -> dict[str, str]:
        return {"address": text}

    ship = mails.child(parcels, inputs, writes="label", result="label", name="ship")
    approve = mails.pause(writes="approval", answer=Approval, shows=("text", "label"))

    @mails.effect(writes="receipt", safety=Idempotent())
    async def send(text: str, *, ctx: Context, outbox: list[str]) -> str:
        outbox.append(ctx.key)
        return "sent"

    mails.rules(
        when("it is not classified", lambda m: m.topic is None, classify),
        when("it has no label", lambda m: m.label is None, ship),
        when("it needs a person", lambda m: m.approval is None, approve),
        when("it is not sent", lambda m: m.receipt is None, send),
        otherwise(finish("sent")),
    )
    return mails, parcels


def test_two_engines_share_cases_children_pauses_and_effects(postgres_url: str) -> None:
    """A case may be started, run, answered and finished by different engines; each of its calls happens once."""
    outbox: list[str] = []

    async def main() -> None:
        resources = {"outbox": outbox}
        async with (
            Engine.open(postgres_url, processes(), resources=resources, lease_seconds=LEASE_SECONDS) as one,
            Engine.open(postgres_url, processes(), resources=resources, lease_seconds=LEASE_SECONDS) as two,
        ):
            engines = (one, two)

            async def whole(number: int) -> None:
                mine, other = engines[number % 2], engines[1 - number % 2]
                started = await asyncio.gather(
                    *(engine.start("mails", Mail(text=f"refund {number}"), key=f"k {number}") for engine in engines)
                )
                assert sorted(start.duplicate for start in started) == [False, True]
                [case] = {start.case for start in started}
                assert (await mine.wait_until_resting(case)).status is Status.WAITING
                while (pause := await other.reader.pause(case)) is None:
                    pass  # it rests also while it waits for its child
                answers = await asyncio.gather(
                    *(engine.resume(pause.token, Approval(approved=True), by="anna") for engine in engines), return_exceptions=True
                )
                refused = [answer for answer in answers if isinstance(answer, BaseException)]
                assert [type(error) for error in refused] == [AlreadyAnswered]
                assert (await other.wait_until_resting(case)).outcome == "sent"

            async with asyncio.timeout(HANG_SECONDS):
                await asyncio.gather(*map(whole, range(CASES)))
            assert await one.reader.counts() == await two.reader.counts()
            assert {status: count for status, count in (await one.reader.counts()).items() if count} == {Status.DONE: 2 * CASES}
            # Not all events: the newest may be hidden for a moment, by a transaction of the server itself, too.
            cases = [row.id for row in await two.reader.cases()]
            kinds = Counter(event.kind for event in await two.reader.events_of(cases))
            assert (kinds["child.started"], kinds["child.ended"]) == (CASES, CASES)

    asyncio.run(main())
    assert len(outbox) == len(set(outbox)) == CASES


def test_an_engine_takes_the_lease_that_it_is_given(postgres: Server, postgres_url: str) -> None:
    async def main() -> float:
        async with Engine.open(postgres_url, [], lease_seconds=2_000):
            table = f"{postgres_url.rpartition('schema=')[2]}.engines"
            [[seconds]] = postgres.execute(f"SELECT lease_until - extract(epoch FROM clock_timestamp()) FROM {table}")
            return float(seconds)

    assert 1_900 < asyncio.run(main()) <= 2_000


@pytest.mark.parametrize("seconds", [0, 0.9, 3_601, float("nan"), "30"])
def test_a_lease_that_is_too_short_or_too_long_is_refused(tmp_path: Path, seconds: Any) -> None:
    async def main() -> None:
        async with Engine.open(tmp_path / "cases.db", [], lease_seconds=seconds):
            pass

    with pytest.raises(DefinitionError, match="lease_seconds"):
        asyncio.run(main())


def test_a_commit_of_another_engine_costs_reads_only_however_many_callers_wait(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While cases of the first engine run and callers wait for them at the second one, the first one ends other cases."""
    asked = Counter[str]()
    ended: list[int] = []

    async def main() -> None:
        gate = asyncio.Event()
        parcels = Process("parcels", Parcel)

        @parcels.node(writes="label")
        async def print_label(address: str) -> str:
            if address == "slow":
                await gate.wait()
            return f"label for {address}"

        parcels.rules(when("no label", lambda p: p.label is None, print_label), otherwise(finish("shipped")))
        async with (
            Engine.open(postgres_url, [parcels], lease_seconds=LEASE_SECONDS) as one,
            Engine.open(postgres_url, [parcels], lease_seconds=LEASE_SECONDS) as two,
        ):
            names = {text: name for name, text in two.reader.connections.sql.items()}  # type: ignore[attr-defined]
            execute = AsyncConnection.execute

            def counted(connection: Any, query: Any, *values: Any, **settings: Any) -> Any:
                asked[names.get(query, "") if isinstance(query, str) else ""] += 1
                return execute(connection, query, *values, **settings)

            slow = [(await one.start("parcels", Parcel(address="slow"))).case for _ in range(CASES)]
            waiting = [asyncio.create_task(two.wait_until_resting(case)) for case in slow]
            for _ in range(3):
                quick = (await one.start("parcels", Parcel(address="quick"))).case
                await two.wait_until_resting(quick)  # so the second engine has heard of commits, and all callers wait
            monkeypatch.setattr(AsyncConnection, "execute", counted)
            while not asked["select_cases_of"]:  # a case that has ended when it is first looked at is not waited for
                quick = (await one.start("parcels", Parcel(address="quick"))).case
                await two.wait_until_resting(quick)
                ended.append(quick)
            monkeypatch.undo()
            gate.set()
            assert {row.outcome for row in await asyncio.gather(*waiting)} == {"shipped"}

    asyncio.run(asyncio.wait_for(main(), HANG_SECONDS))
    assert asked["has_lease"] == 0
    assert asked["select_case"] <= len(ended)  # of the quick cases
