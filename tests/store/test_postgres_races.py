"""Several engines on one PostgreSQL database do the same at once. The conformance suite uses one handle at a time, which shows no race."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from psycopg import AsyncPipeline

from pointsman.definition.transactions import Database
from pointsman.errors import Conflict, InboxChanged
from pointsman.kernel.rows import Address, EventWrite, Intent, MessageStatus, NewCase, PauseOpening, Post, Transition, UsageWrite
from pointsman.kernel.snapshot import Status
from pointsman.store.base import Posted
from pointsman.store.postgres.connections import rows_of
from pointsman.store.postgres.store import PostgresStore, open_postgres
from pointsman.testing.scenarios import events_once, new_case, next_of, start_of

pytestmark = pytest.mark.usefixtures("patient")

Scenario = Callable[[list[PostgresStore]], Awaitable[None]]
Race = Callable[[int, Scenario], None]
HANG_SECONDS = 600.0  # far longer than any of these takes: a test that hangs says so
LEASE_SECONDS = 3_600.0  # nothing here renews it, so it is longer than a test may take
OVER = EventWrite("noted", None, 0, '"over 1"')  # the last event


@pytest.fixture(name="race")
def _race(postgres_url: str) -> Race:
    """A function that runs a scenario on some handles of one new database, and then compares the counts of cases with the cases."""

    async def main(count: int, scenario: Scenario) -> None:
        stores = [await open_postgres(postgres_url, lease_seconds=LEASE_SECONDS) for _ in range(count)]
        try:
            await asyncio.wait_for(scenario(stores), HANG_SECONDS)
            await check_counts(stores[0])
        finally:
            for store in stores:
                await store.close()

    return lambda count, scenario: asyncio.run(main(count, scenario))


async def look(store: PostgresStore, statement: str) -> list[Any]:
    """Rows of a statement of the test's own."""
    return await store.connections.rows(statement.replace("pointsman.", f"{store.connections.place.schema}."))


async def check_counts(store: PostgresStore) -> None:
    cases = await store.cases(limit=100_000)
    expected = Counter(case.status for case in cases)
    assert {status: count for status, count in (await store.counts()).items() if count} == expected


async def at_once(*work: Awaitable[Any]) -> list[Any]:
    """Run these together; a Conflict is an answer, any other exception fails the test."""
    answers = await asyncio.gather(*work, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, Conflict):
            raise answer
    return answers


def of(number: int, **more: Any) -> NewCase:
    """A case of the thread with this number."""
    return NewCase("p", 1, None, correlation=f"c {number}", **more)


def mail(number: int, key: str | None, **more: Any) -> Post:
    """A message to the thread with this number."""
    return Post(Address("p", correlation=f"c {number}"), "mail", key, '"text"', 20.0, **more)


def test_of_starts_with_one_key_one_creates_the_case(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        for number in range(60):
            answers = await asyncio.gather(*(new_case(store, key=f"k {number}") for store in stores for _ in range(2)))
            assert len(set(answers)) == 1
        assert len(await stores[0].cases()) == 60

    race(3, scenario)


def test_a_start_never_repeats_a_case_that_is_erased_at_that_moment(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        first, second = stores
        cases = [await new_case(first, key=f"k {number}", status=Status.DONE) for number in range(60)]
        for number, case in enumerate(cases):
            start = await start_of(second, key=f"k {number}", status=Status.DONE)
            answers = await asyncio.gather(
                first.commit(next_of(case, 1, 0, Status.DONE, erases=True)),
                *(new_case(second, key=f"k {number}", status=Status.DONE) for _ in range(2)),
                second.post(mail(number, None), start),
            )
            assert [answer.case if isinstance(answer, Posted) else answer for answer in answers] == [case] * 4

    race(2, scenario)


def test_a_start_that_waits_for_an_erasure_finds_the_erased_case(race: Race) -> None:
    """The start has looked for an erased key before the erasure is committed, and for the key itself afterwards."""

    async def scenario(stores: list[PostgresStore]) -> None:
        first, second = stores
        case = await new_case(first, key="k", status=Status.DONE)
        async with first.connections.transaction() as connection:
            await first._writing.apply(connection, [next_of(case, 1, 0, Status.DONE, erases=True)])
            begun = asyncio.create_task(new_case(second, key="k", status=Status.DONE))
            await blocked(first, 1)
        assert await begun == case

    race(2, scenario)


async def blocked(store: PostgresStore, count: int) -> None:
    """Wait until so many sessions of the server wait for another one's lock on this schema's tables."""
    schema = store.connections.place.schema
    while True:
        [(waiting,)] = await look(
            store,
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event <> 'advisory'"
            f" AND strpos(query, '{schema}.') > 0",
        )
        if waiting >= count:
            return
        await asyncio.sleep(0)


def test_of_messages_with_one_correlation_key_one_starts_the_case(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        for number in range(40):
            posts = [(store, f"{number} {place}", await start_of(store, new=of(number))) for store in stores for place in range(2)]
            answers = await asyncio.gather(*(store.post(mail(number, key), start) for store, key, start in posts))
            assert len({answer.case for answer in answers if answer}) == 1
            assert sorted(answer.started for answer in answers if answer) == [False, False, False, True]
        assert len(await stores[0].cases()) == 40

    race(2, scenario)


def test_a_message_with_one_key_that_is_sent_twice_at_once_is_stored_once(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        for number in range(60):
            case = await new_case(stores[0], status=Status.WAITING)
            post = Post(Address("p", case=case), "mail", f"k {number}", "1", 20.0)
            answers = await asyncio.gather(*(store.post(post) for store in stores))
            assert sorted(answer.duplicate for answer in answers if answer) == [False, True]
            found = await stores[0].case(case)
            assert found is not None
            assert found.inbox == 1

    race(2, scenario)


def test_a_message_is_not_left_behind_by_the_start_of_its_case(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        for number in range(100):
            start = await start_of(stores[0], status=Status.WAITING, new=of(number))
            await asyncio.gather(stores[0].commit(start), stores[1].post(mail(number, f"m {number}")))
            row = await stores[0].case(start.case)
            assert row is not None
            assert (row.inbox, row.status) == (1, Status.READY)
        assert await stores[0].unmatched() == []

    race(2, scenario)


@pytest.mark.parametrize("while_open", ["supersede", "append", "hold"])
def test_a_message_to_a_case_that_ends_at_that_moment_is_not_lost(race: Race, while_open: Any) -> None:
    """The open case takes it, or it starts the next one, or it is held for the next one."""

    async def scenario(stores: list[PostgresStore]) -> None:
        first, second = stores
        for number in range(50):
            case = await new_case(first, status=Status.WAITING, new=of(number))
            follower = await start_of(second, new=of(number))
            ended, posted = await at_once(
                first.commit(next_of(case, 1, 0, Status.DONE, inbox=0)),
                second.post(mail(number, f"m {number}", while_open=while_open), follower),
            )
            assert isinstance(posted, Posted)
            if posted.started:
                assert (ended, posted.case, posted.status) == (case, follower.case, MessageStatus.TAKEN)
            elif while_open == "hold":
                assert (ended, posted) == (case, Posted(case, MessageStatus.HELD))
            else:
                assert (type(ended), posted) == (InboxChanged, Posted(case, MessageStatus.PENDING))

    race(2, scenario)


def test_a_message_that_waits_for_the_end_of_its_case_starts_the_next_one(race: Race) -> None:
    """The message found the case open, and waits while the end is being committed."""

    async def scenario(stores: list[PostgresStore]) -> None:
        first, second = stores
        for number, while_open in enumerate(("supersede", "append", "hold")):
            case = await new_case(first, status=Status.WAITING, new=of(number))
            follower = await start_of(second, new=of(number))
            async with first.connections.transaction() as connection:
                await first._writing.apply(connection, [next_of(case, 1, 0, Status.DONE, inbox=0)])
                post = asyncio.create_task(second.post(mail(number, f"m {number}", while_open=while_open), follower))
                await blocked(first, 1)
            assert await post == Posted(follower.case, MessageStatus.TAKEN, started=True)

    race(2, scenario)


def test_a_pause_is_answered_once(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        for number in range(60):
            case = await new_case(stores[0], status=Status.WAITING, pause=PauseOpening("approve", f"t {number}", "d"))
            answers = await at_once(
                *(store.commit(next_of(case, 1, 0, Status.READY, wake_at=20.0, leaves_pause=True, answered_by=str(place)))
                  for place, store in enumerate(stores))
            )  # fmt: skip
            [winner] = [place for place, answer in enumerate(answers) if answer == case]
            pause = await stores[0].pause(case)
            assert pause is not None
            assert (pause.closed, pause.closed_by) == ("answered", str(winner))

    race(3, scenario)


def test_of_two_cases_with_one_intent_key_one_is_refused_whole(race: Race) -> None:
    """Also if the batches name two keys in opposite order: neither sees the deadlock."""

    async def scenario(stores: list[PostgresStore]) -> None:
        for number in range(30):
            cases = [[await new_case(store, status=Status.RUNNING) for _ in range(2)] for store in stores]
            keys = [f"{number} a", f"{number} b"]
            answers = await at_once(
                *(store.commit(next_of(case, 1, 0, intent=Intent(key, "send", "a", 30.0, again=False)))
                  for store, own, order in zip(stores, cases, (keys, keys[::-1]), strict=True)
                  for case, key in zip(own, order, strict=True))
            )  # fmt: skip
            won = [answer for answer in answers if not isinstance(answer, Conflict)]
            effects = [await stores[0].effect(key) for key in keys]
            assert sorted(won) == sorted(effect.case for effect in effects if effect is not None)
            rows = await stores[0].cases_of([case for own in cases for case in own])
            assert [row.id for row in rows if row.revision == 2] == sorted(won)

    race(2, scenario)


def test_many_handles_claim_each_due_case_once(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        news = [NewCase("p", 1, None, tenant=f"t{number % 5}") for number in range(500)]
        await asyncio.gather(*(new_case(stores[0], new=new, needs="mail" if number % 2 else None) for number, new in enumerate(news)))

        async def drain(store: PostgresStore) -> list[int]:
            got: list[int] = []
            while claimed := await store.claim(["p"], now=20.0, limit=10, room={"mail": 4}):
                assert sum(one.case.needs == "mail" for one in claimed) <= 4
                got += [one.case.id for one in claimed]
                tenants = Counter(one.case.tenant for one in claimed)
                assert max(tenants.values()) <= 7, tenants
            return got

        claimed = list(itertools.chain(*await asyncio.gather(*map(drain, stores))))
        claimed += await drain(stores[0])
        assert len(claimed) == len(set(claimed)) == 500
        assert {(row.fence, row.attempts) for row in await stores[0].cases(limit=1_000)} == {(1, 1)}

    race(12, scenario)


def test_a_claim_takes_other_cases_than_the_ones_that_another_engine_is_claiming(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        [store] = stores
        cases = [await new_case(store) for _ in range(4)]
        values = {"cases": cases[:2], "now": 20.0, "engine": 0}
        async with store.connections.transaction() as another:
            await rows_of(another, store.connections.sql["claim_cases"], values)
            claimed = await store.claim(["p"], now=20.0, limit=2)
            assert [one.case.id for one in claimed] == cases[2:]
            assert await store.claim(["p"], now=20.0, limit=2) == []

    race(1, scenario)


def test_a_parent_counts_every_message_of_its_children(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        parents = [await new_case(stores[0], status=Status.WAITING) for _ in range(4)]

        async def child(store: PostgresStore, number: int, parent: int) -> None:
            case = await new_case(store, new=NewCase("p", 1, None, parent=parent), status=Status.RUNNING)
            post = Post(Address("p", case=parent), "child", f"{parent} {number}", "1", 20.0, "append")
            await store.commit(next_of(case, 1, 0, Status.DONE, posts=[post]))

        await asyncio.gather(*(child(stores[number % 4], number, parent) for number in range(100) for parent in parents))
        assert [row.inbox for row in await stores[0].cases_of(parents)] == [100] * 4
        assert [len(await stores[0].messages(parent)) for parent in parents] == [100] * 4

    race(4, scenario)


def test_posts_in_opposite_directions_deadlock_nobody(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        left, right = [[await new_case(store, status=Status.RUNNING) for _ in range(8)] for store in stores]

        async def move(store: PostgresStore, case: int, other: int, revision: int) -> None:
            post = Post(Address("p", case=other), "note", f"{case} {revision}", "1", 20.0, "append")
            await store.commit(next_of(case, revision, 0, posts=[post]))

        for revision in range(1, 31):
            pairs = list(zip(left, right, strict=True))
            await asyncio.gather(
                *(move(stores[0], a, b, revision) for a, b in pairs), *(move(stores[1], b, a, revision) for a, b in reversed(pairs))
            )
        assert {row.inbox for row in await stores[0].cases()} == {30}

    race(2, scenario)


def test_a_held_message_is_released_once(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        for number in range(60):
            case = await new_case(stores[0], status=Status.WAITING, new=of(number))
            await stores[0].post(mail(number, f"m {number}", while_open="hold"))
            await stores[0].commit(next_of(case, 1, 0, Status.DONE))
            [held] = await stores[0].held()
            starts = [(store, await start_of(store, new=of(number))) for store in stores]
            post = mail(number, f"m {number}", while_open="hold")
            answers = await asyncio.gather(*(store.post(post, start, released=held.id) for store, start in starts))
            assert sorted((answer.started, answer.duplicate) for answer in answers if answer) == [(False, True), (True, False)]
            assert await stores[0].held() == []

    race(2, scenario)


def test_a_reader_sees_each_event_once_and_in_order_while_handles_commit(race: Race) -> None:
    """Some transactions take their number early and commit late."""

    async def scenario(stores: list[PostgresStore]) -> None:
        chance, written = random.Random(7), list[str]()

        async def write(store: PostgresStore, name: int) -> None:
            case = await new_case(store, status=Status.RUNNING, events=())
            for revision in range(1, 40):
                event = EventWrite("noted", None, 0, f'"{name} {revision}"')
                if chance.random() < 0.3:
                    async with store.connections.transaction() as connection:
                        await store._writing.apply(connection, [next_of(case, revision, 0, events=[event])])
                        for _ in range(chance.randrange(8)):  # others commit meanwhile
                            await rows_of(connection, "SELECT 1")
                else:
                    await store.commit(next_of(case, revision, 0, events=[event]))
                written.append(f'"{name} {revision}"')

        async def read(store: PostgresStore) -> list[str]:
            seen: list[str] = []
            cursor = ""
            while OVER.facts not in seen:
                events = await store.events(after=cursor, limit=7)
                seen += [event.facts for event in events]
                cursor = events[-1].cursor if events else cursor
            return seen

        readers = [asyncio.create_task(read(store)) for store in stores[:2]]
        await asyncio.gather(*(write(store, 10 * number + place) for number, store in enumerate(stores) for place in range(2)))
        await new_case(stores[0], events=[OVER])
        for seen in await asyncio.gather(*readers):
            assert sorted(seen) == sorted([*written, OVER.facts])
            for name in {text.split()[0] for text in seen}:
                revisions = [int(text.strip('"').split()[1]) for text in seen if text.split()[0] == name]
                assert revisions == sorted(revisions)
        assert [event.facts for event in await stores[0].events(limit=10_000)] == seen

    race(4, scenario)


def test_the_events_of_a_case_are_read_at_once_whatever_else_the_server_does(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        first, second = stores
        async with first.connections.transaction() as other:
            await rows_of(other, "SELECT pg_current_xact_id()")  # it writes, and is not over
            case = await new_case(first, status=Status.RUNNING)
            await first.commit(next_of(case, 1, 0, events=[EventWrite("decided", None, 0, "{}"), EventWrite("finished", None, 0, "{}")]))

            events = await second.events(case=case)
            assert [event.kind for event in events] == ["accepted", "decided", "finished"]
            assert [await second.events(case=case, after=event.cursor) for event in events] == [events[1:], events[2:], []]
            assert [await second.events(case=case, after=event.cursor, limit=1) for event in events] == [events[1:2], events[2:], []]
            assert await second.events() == []
        assert [event.cursor for event in await events_once(second, len(events))] == [event.cursor for event in events]

    race(2, scenario)


def test_a_reader_of_a_case_misses_nothing_that_is_appended_late(race: Race) -> None:
    """The transaction that appends has its number before that of a transition, and commits after it."""

    async def scenario(stores: list[PostgresStore]) -> None:
        first, second = stores
        case = await new_case(first, status=Status.RUNNING)
        noted, late = [EventWrite("noted", None, 0, "{}")], [EventWrite("node.late", None, 0, "{}")]
        async with first.connections.transaction() as connection:
            await rows_of(connection, "SELECT pg_current_xact_id()")
            await second.commit(next_of(case, 1, 0, events=noted))
            cursor = (await second.events(case=case))[-1].cursor
            await first._writing.append(connection, case, late, 20.0, [])
            moving = asyncio.ensure_future(second.commit(next_of(case, 2, 0, events=noted)))
            await blocked(first, 1)
            assert await second.events(case=case, after=cursor) == []
        await moving
        assert [event.kind for event in await second.events(case=case, after=cursor)] == ["node.late", "noted"]
        dossier = await second.dossier(case)
        assert dossier is not None
        assert list(dossier.events) == await second.events(case=case)

    race(2, scenario)


def test_a_reader_of_a_case_sees_each_event_once_while_handles_move_it_and_append(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        case, over = await new_case(stores[0], status=Status.RUNNING, events=()), False

        async def move(store: PostgresStore) -> None:
            for revision in range(1, 60):
                await store.commit(next_of(case, revision, 0, events=[EventWrite("noted", None, 0, "{}")]))

        async def append(store: PostgresStore, name: int) -> None:
            for number in range(60):
                await store.append(case, [EventWrite("node.late", f"{name} {number}", 0, "{}")], at=20.0)

        async def read(store: PostgresStore) -> list[str]:
            seen: list[str] = []
            cursor = ""
            while True:
                last = over
                events = await store.events(after=cursor, case=case, limit=3)
                seen += [event.cursor for event in events]
                cursor = events[-1].cursor if events else cursor
                if last and not events:
                    return seen

        readers = [asyncio.create_task(read(store)) for store in stores[:2]]
        await asyncio.gather(move(stores[0]), *(append(store, name) for name, store in enumerate(stores[1:])))
        over = True
        for seen in await asyncio.gather(*readers):
            assert seen == [event.cursor for event in await stores[0].events(case=case)]
            assert sorted(seen) == sorted(event.cursor for event in await events_once(stores[0], len(seen)))
            assert len(seen) == 59 + 60 * 3

    race(4, scenario)


def test_an_authors_rows_are_those_of_the_transitions_that_were_committed(race: Race, postgres_url: str) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        table = f"{stores[0].connections.place.schema}_authors"
        await look(stores[0], f"CREATE TABLE {table} (case_id bigint, revision integer)")
        try:
            case = await new_case(stores[0], status=Status.RUNNING)

            def work(revision: int) -> Callable[[Database], Transition]:
                def run(db: Database) -> Transition:
                    db.execute(f"INSERT INTO {table} VALUES (?, ?)", (case, revision))
                    return next_of(case, revision, 0)

                return run

            for revision in range(1, 31):
                answers = await at_once(*(store.transact(work(revision)) for store in stores))
                assert sorted(isinstance(answer, Conflict) for answer in answers) == [False, True]
            assert await look(stores[0], f"SELECT revision FROM {table} ORDER BY 1") == [(revision,) for revision in range(1, 31)]
        finally:
            await look(stores[0], f"DROP TABLE {table}")

    race(2, scenario)


def test_a_claim_is_not_kept_waiting_by_commits_that_come_later(race: Race, postgres_url: str) -> None:
    """During each commit another one is handed in, so that the writer is never idle."""

    async def scenario(stores: list[PostgresStore]) -> None:
        commits: list[asyncio.Future[int]] = []

        def hand_in(label: str) -> None:
            if label == "store.commit" and 0 < len(commits) < 200:
                commits.append(asyncio.ensure_future(store.commit(next_of(busy, len(commits) + 1, 0))))

        store = await open_postgres(postgres_url, failpoints=hand_in, lease_seconds=LEASE_SECONDS)
        try:
            busy, case = await new_case(store, process="busy", status=Status.RUNNING), await new_case(store)
            commits.append(asyncio.ensure_future(store.commit(next_of(busy, 1, 0))))
            claimed = await store.claim(["p"], now=20.0, limit=1)
            assert len(commits) < 100
            assert [one.case.id for one in claimed] == [case]
        finally:
            await store.close()

    race(1, scenario)


def test_a_storm_of_everything_leaves_the_counts_true(race: Race) -> None:
    """Starts, moves, messages, claims, releases, erasures and expiry; nobody sees a deadlock, and the fixture compares the counts."""

    async def scenario(stores: list[PostgresStore]) -> None:
        chance = random.Random(3)
        cases: list[int] = []
        statuses = [Status.READY, Status.WAITING, Status.RUNNING, Status.PARKED, Status.DONE]

        async def one(store: PostgresStore) -> None:
            for number in range(10):
                status = chance.choice(statuses)
                new = NewCase(chance.choice("pq"), 1, None, correlation=f"c {chance.randrange(5)}")
                case = await new_case(store, new=new, status=status, step="s", outcome="sent" if status is Status.DONE else None)
                cases.append(case)
                await at_once(
                    store.post(mail(chance.randrange(5), None), await start_of(store, new=of(chance.randrange(5)))),
                    store.commit(next_of(case, 1, 0, chance.choice(statuses[1:]), step="t", outcome="sent", erases=status is Status.DONE)),
                    store.commit(next_of(chance.choice(cases), 2, 0, chance.choice(statuses), wake_at=5.0)),
                    store.claim(["p", "q"], now=30.0, limit=3),
                    store.release(chance.sample(cases, 1), now=20.0),
                    store.expire("p", "sent", before=15.0 + number, at=50.0, limit=2),
                )

        await asyncio.gather(*(one(store) for store in stores for _ in range(3)))

    race(4, scenario)


def test_a_mark_of_a_claim_that_is_over_changes_nothing(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        first, second = stores
        for _ in range(30):
            case = await new_case(first)
            [one] = await first.claim(["p"], now=20.0, limit=1)
            await asyncio.gather(
                first.release([case], now=20.0), second.claim(["p"], now=20.0, limit=1), first.mark_waiting(case, one.case.fence, True)
            )
            await second.claim(["p"], now=20.0, limit=1)
            [(fence, waits)] = await look(first, f"SELECT fence, waits FROM pointsman.cases WHERE id = {case}")
            assert (fence, waits) == (2, False)

    race(2, scenario)


def test_an_event_that_is_appended_while_its_case_expires_leaves_nothing_behind(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        first, second = stores
        case = await new_case(first, status=Status.DONE, outcome="sent")
        async with first.connections.transaction() as connection:
            for statement in ("expire_journal", "expire_cases"):
                await rows_of(connection, first.connections.sql[statement], {"cases": [case]})
            late = asyncio.create_task(second.append(case, [EventWrite("late", None, 0, "1")], at=30.0, usage=[UsageWrite("m", 1, 1, 1)]))
            await blocked(first, 1)
        await late
        for table in ("journal", "case_usage"):
            assert await look(first, f"SELECT count(*) FROM pointsman.{table} WHERE case_id = {case}") == [(0,)]

    race(2, scenario)


@pytest.mark.parametrize(("begin", "line"), [("begin_batch", 1), ("begin_batch", 2), ("has_lease", 1)])
def test_an_engine_that_is_still_writing_is_not_forgotten(race: Race, postgres_url: str, begin: str, line: int) -> None:
    """Its lease is over while it commits a batch or a claim; another engine must be able to take over what it is committing."""

    async def scenario(stores: list[PostgresStore]) -> None:
        [store] = stores
        case = await new_case(store)
        values = {
            "engine": store._writing.engine,
            "line": 1,
            "number": store._writer.lines[0].number + 1,
            "skew": 0.0,
            "now": 20.0,
            "cases": [case],
        }
        async with store.connections.transaction() as connection:
            for statement in (begin, "claim_cases"):
                await rows_of(connection, store.connections.sql[statement], values)
            opening = asyncio.create_task(open_postgres(postgres_url, lease_seconds=LEASE_SECONDS, skew=lambda: LEASE_SECONDS + 1))
            waiting = asyncio.create_task(blocked(store, 1))
            done, _ = await asyncio.wait({opening, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        another = await opening
        try:
            assert [one.case.id for one in await another.claim(["p"], now=200.0, limit=9)] == [case]
            assert opening in done, "an engine that opens waits for the commit of another one"
        finally:
            await another.close()

    race(1, scenario)


def test_what_was_handed_in_is_committed_before_a_release_although_its_caller_was_cancelled(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        [store] = stores
        for _ in range(30):
            await new_case(store)
            [one] = await store.claim(["p"], now=20.0, limit=1)
            case, fence = one.case.id, one.case.fence
            handed = asyncio.ensure_future(store.commit(next_of(case, 1, fence, Status.DONE)))
            handed.cancel()
            await store.release([case], now=20.0)
            row = await store.case(case)
            assert row is not None
            assert (row.status, row.revision) == (Status.DONE, 2)

    race(1, scenario)


def test_cancelled_callers_leave_nothing_half_done(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        chance = random.Random(11)
        for number in range(60):
            store = stores[number % 2]
            case = await new_case(store, status=Status.WAITING, new=of(number))
            follower = await start_of(store, new=of(1_000 + number))
            work: list[Any] = [
                store.commit(next_of(case, 1, 0, Status.READY, wake_at=20.0, events=[EventWrite("noted", None, 0, "1")])),
                store.post(mail(number, f"m {number}")),
                store.post(mail(1_000 + number, f"n {number}"), follower),
                store.claim(["p"], now=30.0, limit=2),
                store.append(case, [EventWrite("late", None, 0, "1")], at=30.0),
            ]
            tasks = [asyncio.ensure_future(one) for one in work]
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for store in stores:
            await new_case(store)
            await store.claim(["p"], now=30.0, limit=1)
        [(wrong,)] = await look(
            stores[0],
            "SELECT count(*) FROM pointsman.cases AS c"
            " WHERE inbox <> (SELECT count(*) FROM pointsman.messages WHERE case_id = c.id AND status = 'pending')"
            " OR revision <> (SELECT max(revision) FROM pointsman.journal WHERE case_id = c.id)",
        )
        assert wrong == 0
        assert [row for row in await stores[0].unmatched() if row.correlation in {f"c {number}" for number in range(60)}] == []

    race(2, scenario)


def test_a_caller_that_is_cancelled_as_its_pipeline_begins_takes_no_rows_from_the_next(race: Race, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver lets the event loop go on there if the loop has been busy for long."""
    begin = AsyncPipeline.__aenter__

    async def cancelled(pipeline: AsyncPipeline) -> AsyncPipeline:
        await begin(pipeline)
        raise asyncio.CancelledError

    async def scenario(stores: list[PostgresStore]) -> None:
        [store] = stores
        start = await start_of(store, new=of(1))
        with monkeypatch.context() as patched:
            patched.setattr(AsyncPipeline, "__aenter__", cancelled)
            with pytest.raises(asyncio.CancelledError):
                await store.post(mail(1, "m"), start)
        assert [await look(store, "SELECT 1") for _ in range(8)] == [[(1,)]] * 8
        posted = await store.post(mail(1, "m"), start)
        assert posted is not None
        assert posted.started

    race(1, scenario)


def test_a_cancelled_transaction_is_committed_whole_or_not_at_all(race: Race) -> None:
    async def scenario(stores: list[PostgresStore]) -> None:
        [store] = stores
        table = f"{store.connections.place.schema}_authors"
        await look(store, f"CREATE TABLE {table} (case_id bigint)")
        chance, cases = random.Random(5), [await new_case(store, status=Status.RUNNING) for _ in range(30)]

        def work(case: int, db: Database) -> Transition:
            for _ in range(3):
                db.execute(f"INSERT INTO {table} VALUES (?)", (case,))
            return next_of(case, 1, 0)

        try:
            for case in cases:
                task = asyncio.ensure_future(store.transact(partial(work, case)))
                for _ in range(chance.randrange(60)):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            moved = [row.id for row in await store.cases_of(cases) if row.revision == 2]
            rows = await look(store, f"SELECT case_id FROM {table} ORDER BY 1")
            assert [case for (case,) in rows] == sorted(moved * 3)
        finally:
            await look(store, f"DROP TABLE {table}")

    race(1, scenario)


def test_a_statement_of_a_transaction_that_is_cancelled_does_not_run_after_its_rollback(
    race: Race, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = AsyncPipeline.__aenter__

    async def scenario(stores: list[PostgresStore]) -> None:
        [store] = stores
        table = f"{store.connections.place.schema}_authors"
        await look(store, f"CREATE TABLE {table} (case_id bigint)")
        case = await new_case(store, status=Status.RUNNING)

        def work(db: Database) -> Transition:
            db.execute(f"INSERT INTO {table} VALUES (?)", (case,))
            return next_of(case, 1, 0)

        async def cancelled(pipeline: AsyncPipeline) -> AsyncPipeline:
            await begin(pipeline)
            async with pipeline._conn.lock:
                transacting.cancel()
                while not pipeline._conn.lock._waiters:  # noqa: ASYNC110 - until the rollback is next
                    await asyncio.sleep(0)
            return pipeline

        try:
            with monkeypatch.context() as patched:
                patched.setattr(AsyncPipeline, "__aenter__", cancelled)
                transacting = asyncio.ensure_future(store.transact(work))
                await asyncio.gather(transacting, return_exceptions=True)
            assert await look(store, f"SELECT case_id FROM {table}") == []
        finally:
            await look(store, f"DROP TABLE {table}")

    race(1, scenario)
