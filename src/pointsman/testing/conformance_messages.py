"""The promises of a store about messages (S10); a part of the suite in conformance.py."""

from collections.abc import Callable
from typing import Any

import pytest

from pointsman.definition.messages import WhileOpen
from pointsman.errors import Conflict, InboxChanged
from pointsman.kernel.rows import Address, MessageStatus, NewCase, Post, Transition
from pointsman.kernel.snapshot import Status
from pointsman.store.base import Posted, Store
from pointsman.testing.scenarios import Scenario, Scenarios, new_case, next_of, start_of

THREAD = NewCase("p", 1, None, correlation="c")


def message(key: str | None, *, while_open: WhileOpen = "supersede", **to: Any) -> Post:
    """A message of the thread "c"."""
    return Post(Address("p", **{"correlation": "c", **to}), "mail", key, '"text"', 20.0, while_open)


async def pending(store: Store, case: int) -> tuple[str | None, ...]:
    """The keys of a case's pending messages."""
    return tuple(row.key for row in await store.messages(case))


class MessagesConformance(Scenarios):
    """Deliver messages."""

    def test_s10_a_message_reaches_its_open_case_once_and_wakes_it(self, check: Callable[[Scenario], None]) -> None:
        """A waiting or parked case becomes ready in the same commit; a case that is ready later is due now if the message is urgent."""

        async def scenario(store: Store) -> None:
            for status in (Status.WAITING, Status.PARKED, Status.READY):
                case = await new_case(store, status=status, at=90.0, new=THREAD)
                key = f"m {status}"

                first = await store.post(message(key))
                again = await store.post(message(key))

                row = await store.case(case)
                assert first == Posted(case, MessageStatus.PENDING)
                assert again == Posted(case, MessageStatus.PENDING, duplicate=True)
                assert row is not None
                assert (row.status, row.wake_at, row.inbox) == (Status.READY, 20.0, 1)
                assert await pending(store, case) == (key,)

        check(scenario)

    def test_s10_a_commit_that_has_not_seen_a_message_changes_nothing(self, check: Callable[[Scenario], None]) -> None:
        """A commit that has seen the message takes it."""

        async def scenario(store: Store) -> None:
            case = await new_case(store, new=THREAD)
            await store.post(message("m"))
            [row] = await store.messages(case)

            with pytest.raises(InboxChanged):
                await store.commit(next_of(case, 1, 0, inbox=0))
            await store.commit(next_of(case, 1, 0, Status.DONE, inbox=1, takes=[(row.id, MessageStatus.TAKEN)]))

            assert await pending(store, case) == ()
            assert await store.post(message("m")) == Posted(case, MessageStatus.TAKEN, duplicate=True)

        check(scenario)

    def test_s10_a_message_without_an_open_case_starts_one(self, check: Callable[[Scenario], None]) -> None:
        """The second message finds the case. If the intake is full, a message that would start a case is not stored."""

        async def scenario(store: Store) -> None:
            refused = await store.post(message("m1"), await start_of(store, new=THREAD), full=True)
            first = await store.post(message("m1"), await start_of(store, new=THREAD))
            second = await store.post(message("m2"), await start_of(store, new=THREAD), full=True)

            [row] = await store.cases()
            assert refused is None
            assert first == Posted(row.id, MessageStatus.TAKEN, started=True)
            assert second == Posted(row.id, MessageStatus.PENDING)

        check(scenario)

    def test_s10_of_several_open_cases_the_one_that_started_last_gets_the_message(self, check: Callable[[Scenario], None]) -> None:
        """Whatever their numbers: another engine may have reserved lower ones."""

        async def scenario(store: Store) -> None:
            low, high = await store.reserve(2)
            for case, at in ((high, 10.0), (low, 11.0)):
                await store.commit(Transition(case, 0, 0, at, Status.WAITING, new=THREAD))

            posted = await store.post(message("m1"))

            assert posted is not None
            assert posted.case == low

        check(scenario)

    def test_s10_an_unmatched_message_waits_for_the_first_case_that_stays_open(self, check: Callable[[Scenario], None]) -> None:
        """A case that ends with its start takes no message."""

        async def scenario(store: Store) -> None:
            await store.post(message("m"))
            other = await new_case(store, new=NewCase("p", 1, None, correlation="d"))
            over = await new_case(store, status=Status.DONE, new=THREAD)
            before = [row.key for row in await store.unmatched()]
            case = await new_case(store, status=Status.WAITING, new=THREAD)

            row = await store.case(case)
            assert before == ["m"]
            assert row is not None
            assert (row.status, row.inbox) == (Status.READY, 1)
            assert [await pending(store, one) for one in (other, over, case)] == [(), (), ("m",)]
            assert await store.unmatched() == []

        check(scenario)

    def test_s10_a_held_message_waits_for_the_end_of_its_case_and_is_delivered_once(self, check: Callable[[Scenario], None]) -> None:
        """If it is held again, because another message has started a case, it keeps its number, its key and its place."""

        async def scenario(store: Store) -> None:
            first = await new_case(store, new=THREAD)
            for key in ("m1", "m2"):
                await store.post(message(key, while_open="hold"))
            early = await store.held()
            await store.commit(next_of(first, 1, 0, Status.DONE))
            one, two = await store.held()

            started = await store.post(message("m1", while_open="hold"), await start_of(store, new=THREAD), released=one.id)
            again = await store.post(message("m1", while_open="hold"), await start_of(store, new=THREAD), released=one.id)
            behind = await store.post(message("m2", while_open="hold"), await start_of(store, new=THREAD), released=two.id)

            assert early == []
            assert started is not None
            second = started.case
            assert (started.started, behind) == (True, Posted(second, MessageStatus.HELD))
            assert again is not None
            assert (again.duplicate, again.started) == (True, False)
            assert await store.post(message("m1", while_open="hold")) == Posted(second, MessageStatus.TAKEN, duplicate=True)
            await store.commit(next_of(second or 0, 1, 0, Status.DONE))
            assert [(row.id, row.key) for row in await store.held()] == [(two.id, "m2")]
            assert await store.held(after=two.id) == []

        check(scenario)

    def test_s4_s10_keys_belong_to_one_tenant(self, check: Callable[[Scenario], None]) -> None:
        """Start keys, message keys and correlation keys of two tenants are independent."""

        async def scenario(store: Store) -> None:
            news = {tenant: NewCase("p", 1, "k", tenant, correlation="c") for tenant in ("", "red", "blue")}
            early = await store.post(message("early", tenant="blue"))
            cases = {tenant: await new_case(store, new=new, status=Status.WAITING) for tenant, new in news.items()}
            again = {tenant: await new_case(store, new=new) for tenant, new in news.items()}
            posted = {tenant: await store.post(message("m", tenant=tenant)) for tenant in news}
            twice = {tenant: await store.post(message("m", tenant=tenant)) for tenant in news}
            stranger = await store.post(message("m", tenant="green"))

            assert early == Posted(None, MessageStatus.UNMATCHED)
            assert len(set(cases.values())) == 3
            assert again == cases
            assert {tenant: getattr(await store.case_by_key("p", "k", tenant=tenant), "id", None) for tenant in news} == cases
            assert await store.case_by_key("p", "k", tenant="green") is None
            assert posted == {tenant: Posted(case, MessageStatus.PENDING) for tenant, case in cases.items()}
            assert twice == {tenant: Posted(case, MessageStatus.PENDING, duplicate=True) for tenant, case in cases.items()}
            assert stranger == Posted(None, MessageStatus.UNMATCHED)
            assert [await pending(store, case) for case in cases.values()] == [("m",), ("m",), ("early", "m")]
            assert [(row.key, row.tenant) for row in await store.unmatched()] == [("m", "green")]

        check(scenario)

    def test_s10_messages_between_cases_are_part_of_their_commits(self, check: Callable[[Scenario], None]) -> None:
        """Once, and not to a case that has ended."""

        async def scenario(store: Store) -> None:
            parent = await new_case(store, status=Status.WAITING)
            over = await new_case(store, status=Status.DONE)
            child = await new_case(store)
            posts = [Post(Address("p", case=case), "end", f"{child} {case}", "{}", 20.0) for case in (parent, over)]

            with pytest.raises(Conflict):
                await store.commit(next_of(child, 7, 0, Status.DONE, posts=posts))
            before = await pending(store, parent)
            await store.commit(next_of(child, 1, 0, Status.DONE, posts=posts))
            await store.commit(next_of(child, 2, 0, Status.DONE, posts=posts))

            assert before == ()
            assert [await pending(store, case) for case in (parent, over)] == [(f"{child} {parent}",), ()]

        check(scenario)
