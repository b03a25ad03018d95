"""The engine on PostgreSQL, where other programs' transactions and other engines are at work in the same server.

Some tests of the other places run here, too: those of what the store decides together with the machine.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import test_children
import test_compensation
import test_messages
import test_pauses
import test_races
from places import LEASE_SECONDS, Place, run

from pointsman import AtMostOnce, Context, Engine, Idempotent, Process, State, compensate, finish, otherwise, when
from pointsman.definition.process import AnyProcess
from pointsman.store.postgres.connections import place_of
from postgres_proxy import Proxy

pytestmark = pytest.mark.usefixtures("patient")


class OnPostgres(Place):
    """A database in place of the file."""

    def __init__(self, url: str) -> None:
        super().__init__(Path("no file"))
        self._url = url

    def open(self, *processes: AnyProcess, **settings: Any) -> AbstractAsyncContextManager[Engine]:
        return Engine.open(
            self._url, processes, **{"grace_seconds": 0.0, "lease_seconds": LEASE_SECONDS, "random": self._random, **settings}
        )


PROMISES: list[Callable[[Place], None]] = [
    test_children.test_a_cancelled_parent_takes_its_child_with_it,
    test_children.test_inputs_that_come_back_find_the_child_that_has_ended,
    test_children.test_new_inputs_cancel_the_child_and_start_another_one,
    test_compensation.test_a_compensation_in_doubt_parks_the_case_and_continues_when_it_is_resolved,
    test_compensation.test_each_booking_is_compensated_with_the_fields_of_its_call,
    test_messages.test_a_held_message_starts_the_next_case_when_the_open_one_has_ended,
    test_messages.test_a_message_starts_a_case_and_the_same_one_again_is_a_duplicate,
    test_messages.test_of_an_answer_and_a_message_at_once_one_wins,
    test_pauses.test_a_case_waits_through_a_closed_engine_under_the_same_token,
    test_pauses.test_an_answer_is_stale_if_the_new_code_shows_something_different,
    test_races.test_a_message_during_a_compensation_does_not_interrupt_it,
]


@pytest.mark.parametrize("promise", PROMISES, ids=[promise.__name__ for promise in PROMISES])
def test_what_the_other_places_promise(promise: Callable[[Place], None], postgres_url: str) -> None:
    promise(OnPostgres(postgres_url))


class Trip(State):
    where: str
    hotel: str | None = None


def travelling(done: list[str]) -> Process[Trip]:
    process = Process("travelling", Trip)

    @process.compensation(safety=AtMostOnce())
    async def cancel(hotel: str, *, ctx: Context) -> None:
        done.append(f"cancel {hotel}")

    @process.effect(writes="hotel", safety=Idempotent(), undo=cancel)
    async def book(where: str, *, ctx: Context) -> str:
        done.append(where)
        return where

    process.rules(when("no hotel", lambda c: c.hotel is None, book), otherwise(compensate("called off")))
    return process


def test_a_long_transaction_of_another_program_hides_no_effect_from_its_compensation(postgres_url: str) -> None:
    async def main() -> None:
        done: list[str] = []
        server = postgres_url.partition("?")[0]
        async with (
            Engine.open(postgres_url, [travelling(done)], lease_seconds=LEASE_SECONDS) as engine,
            await psycopg.AsyncConnection.connect(server) as other,
        ):
            await other.execute("SELECT pg_current_xact_id()")  # it writes, and is not over
            case = (await engine.start("travelling", Trip(where="Rome"))).case
            row = await engine.wait_until_resting(case)
            assert (row.outcome, done) == ("called off", ["Rome", "cancel Rome"])
            assert await engine.reader.events() == []
            assert [event.kind for event in await engine.reader.events_of([case])][-1] == "finished"
            await other.rollback()
            while await engine.reader.events() != await engine.reader.events_of([case]):  # noqa: ASYNC110 - the engine writes in the background, too
                await asyncio.sleep(0)

    run(main())


def test_an_engine_goes_on_although_the_reads_of_a_claimed_case_lose_their_connections(postgres_url: str) -> None:
    done: list[str] = []
    begun, never = asyncio.Event(), asyncio.Event()
    process = Process("trips", Trip)

    @process.node(writes="hotel")
    async def book(where: str) -> str:
        begun.set()
        await never.wait()
        done.append(where)
        return where

    process.rules(when("no hotel", lambda c: c.hotel is None, book), otherwise(finish("booked")))

    async def main() -> None:
        async with Engine.open(postgres_url, [process], grace_seconds=0.0, lease_seconds=LEASE_SECONDS) as one:
            case = (await one.start(process, Trip(where="Rome"))).case
            await begun.wait()
        never.set()
        with Proxy(postgres_url) as proxy:
            schema = place_of(postgres_url).schema
            proxy.cut_at(f"{schema}.effects", "before", "after")
            async with Engine.open(proxy.url, [process], lease_seconds=LEASE_SECONDS) as two:
                assert (await two.wait_until_resting(case)).outcome == "booked"
            assert proxy.cuts == 2
        assert done == ["Rome"]

    run(main())
