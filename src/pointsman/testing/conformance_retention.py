"""The promises of a store about deletion and usage (S22 to S25); a part of the suite in conformance.py."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pointsman.definition.messages import WhileOpen
from pointsman.definition.state import Blob
from pointsman.errors import Conflict
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import (
    Address,
    BranchRow,
    EventWrite,
    FieldWrite,
    Intent,
    MessageStatus,
    NewCase,
    PauseOpening,
    Post,
    Settlement,
    UsageRow,
    UsageWrite,
)
from pointsman.kernel.snapshot import Status
from pointsman.store.base import Store
from pointsman.testing.scenarios import Scenario, Scenarios, case_in_doubt, events_once, new_case, next_of, start_of

DONE: dict[str, Any] = {"status": Status.DONE, "outcome": "sent"}


async def ended(store: Store, **more: Any) -> int:
    """Start a case that is done at once."""
    return await new_case(store, **{**DONE, "wake_at": None, **more})


def post_of(key: str, body: str = '"a letter"', *, correlation: str | None = None, while_open: WhileOpen = "supersede") -> Post:
    """A message to a case of process "p"."""
    return Post(Address("p", correlation=correlation), "mail", key, body, 12.0, while_open)


class RetentionConformance(Scenarios):
    """Delete cases, contents and blobs, and count usage."""

    def test_s22_an_expired_case_is_deleted_whole(self, check: Callable[[Scenario], None]) -> None:
        """And nothing of other cases: of another process or outcome, younger, or open."""

        async def scenario(store: Store) -> None:
            old = await _with_everything(store, "old")
            younger = await ended(store, at=99.0, key="younger")
            others = [
                await ended(store, process="q"),
                await ended(store, outcome="spam"),
                await ended(store, status=Status.CANCELLED, outcome=None),
                await new_case(store),
            ]
            stay = [await store.dossier(case) for case in (younger, *others)]
            of_them = await store.events_of([younger, *others])

            gone = await store.expire("p", "sent", before=50.0, at=100.0, limit=9)

            assert gone == (1, None)
            assert [await store.case(old), await store.dossier(old), await store.case_by_key("p", "old")] == [None] * 3
            assert [await store.effect("k old"), await store.pause_by_token("t old")] == [None] * 2
            assert (await store.fields(old), await store.effects(old), await store.branches(old)) == ((), [], ())
            assert [await store.dossier(case) for case in (younger, *others)] == stay
            [expired] = [event for event in await events_once(store, len(of_them) + 1) if event.case == old]
            assert (expired.kind, expired.facts) == ("expired", f'{{"process": "p", "cases": [{old}]}}')
            assert await store.expire("p", "sent", before=50.0, at=100.0, limit=9) == (0, None)
            assert await store.expire("p", None, before=50.0, at=100.0, limit=9) == (1, None)
            assert await store.outcomes("p") == ["sent", "spam"]
            again = await store.post(post_of("m old"))
            assert again is not None
            assert not again.duplicate

        check(scenario)

    def test_s22_expiry_deletes_at_most_the_given_number_of_cases(self, check: Callable[[Scenario], None]) -> None:
        """The oldest are deleted first."""

        async def scenario(store: Store) -> None:
            cases = [await ended(store, at=at) for at in (13.0, 11.0, 12.0)]

            gone, place = await store.expire("p", "sent", before=50.0, at=100.0, limit=2)

            assert gone == 2
            assert [row.id for row in await store.cases()] == [cases[0]]
            assert place is not None
            assert await store.expire("p", "sent", before=50.0, at=100.0, limit=2, after=place) == (1, None)

        check(scenario)

    def test_s22_a_case_that_is_still_needed_is_not_deleted(self, check: Callable[[Scenario], None]) -> None:
        """A case with an effect in doubt, an open parent or child, or a held message."""

        async def scenario(store: Store) -> None:
            doubtful = await case_in_doubt(store, **DONE)
            parent = await new_case(store)
            child = await ended(store, new=NewCase("p", 1, None, parent=parent))
            elder = await ended(store)
            await new_case(store, new=NewCase("q", 1, None, parent=elder))
            busy = await new_case(store, new=NewCase("p", 1, None, correlation="c"))
            await store.post(post_of("m", correlation="c", while_open="hold"))
            await store.commit(next_of(busy, 1, 0, **DONE))

            first = await store.expire("p", "sent", before=50.0, at=100.0, limit=9)
            await store.commit(next_of(doubtful, 3, 0, **DONE, settlement=Settlement("k", EffectStatus.DONE, "{}")))
            await store.commit(next_of(parent, 1, 0, **DONE))
            [held] = await store.held()
            await store.post(post_of("m2"), released=held.id)
            second = await store.expire("p", "sent", before=50.0, at=100.0, limit=9)

            assert (first.cases, second.cases) == (0, 4)
            assert [row.id for row in await store.cases(process="p")] == [elder]
            assert await store.case(child) is None

        check(scenario)

    def test_s22_numbers_are_not_reused(self, check: Callable[[Scenario], None]) -> None:
        """Neither case numbers, which are in idempotency keys, nor event numbers, which are cursors."""

        async def scenario(store: Store) -> None:
            cases = [await ended(store) for _ in range(3)]
            last = (await events_once(store, 3))[-1].cursor

            await store.expire("p", "sent", before=50.0, at=100.0, limit=9)
            new = await new_case(store)

            events = await events_once(store, 2, after=last)
            assert new > max(cases)
            assert [event.kind for event in events] == ["expired", "accepted"]

        check(scenario)

    def test_s23_erased_content_is_gone_and_the_skeleton_stays(self, check: Callable[[Scenario], None]) -> None:
        """The skeleton says who did what and when, but has no content."""

        async def scenario(store: Store) -> None:
            case = await _with_everything(store, "secret")
            other = await ended(store, key="other")
            before = await store.dossier(case)
            beside = await store.dossier(other)

            await _erase(store, case)

            after = await store.dossier(case)
            assert before is not None
            assert after is not None
            assert "secret" in repr(before)
            assert "secret" not in repr(after._replace(effects=(), pauses=()))
            assert (after.case.status, after.case.outcome, after.case.key, after.case.correlation) == (Status.DONE, "sent", None, None)
            assert (after.writes, after.messages, after.branches) == ((), (), ())
            assert [event.kind for event in after.events] == [*(event.kind for event in before.events), "erased"]
            assert after.events[-1].facts == '{"by":"anna","why":"asked"}'
            assert [(e.key, e.status, e.outcome, e.error) for e in after.effects] == [("k secret", EffectStatus.DONE, "{}", None)]
            assert [(pause.closed, pause.closed_by) for pause in after.pauses] == [("answered", "bob")]
            assert await store.dossier(other) == beside
            assert await store.fields(case) == ()

        check(scenario)

    def test_s23_an_erased_key_is_still_recognised(self, check: Callable[[Scenario], None]) -> None:
        """The key of a start, alone and in a batch, and of a message, until the case is deleted."""

        async def scenario(store: Store) -> None:
            case = await _with_everything(store, "secret")
            await _erase(store, case)

            again = await asyncio.gather(new_case(store, key="secret"), new_case(store, key="another"))
            found = await store.case_by_key("p", "secret")
            posted = await store.post(post_of("m secret"), await start_of(store))
            elsewhere = await new_case(store, key="secret", process="q")
            stranger = await new_case(store, new=NewCase("p", 1, "secret", "another tenant"))

            assert again[0] == case
            assert again[1] != case
            assert found is not None
            assert found.id == case
            assert posted == (case, MessageStatus.TAKEN, True, False)
            assert elsewhere != case
            assert stranger != case
            assert await store.case_by_key("p", "secret", tenant="a third one") is None
            assert await store.case_by_key("p", "never seen") is None
            await store.expire("p", "sent", before=50.0, at=100.0, limit=9)
            assert await store.case_by_key("p", "secret") is None
            assert await new_case(store, key="secret") > case

        check(scenario)

    def test_s24_a_blob_that_nothing_refers_to_is_collected(self, check: Callable[[Scenario], None]) -> None:
        """A reference may be old, nested, in the ledger, in a branch or in a message. A blob that was kept again stays."""

        async def scenario(store: Store) -> None:
            names = ("deep", "ledger", "branch", "message", "rewritten", "nobody", "young")
            blobs = {name: await store.keep(name.encode() * 9, now=90.0 if name == "young" else 10.0) for name in names}
            text = {name: blob.model_dump_json() for name, blob in blobs.items()}
            case = await new_case(store, fields=[FieldWrite("a", f'{{"b":[{text["deep"]}]}}', ""), FieldWrite("c", text["rewritten"], "")])
            await store.commit(next_of(case, 1, 0, fields=[FieldWrite("c", "7", "w")], intent=Intent("k", "send", "a", 30.0, again=False),
                                       branches=[BranchRow("b", 1, None, _quoted(text["branch"]))]))  # fmt: skip
            await store.commit(next_of(case, 2, 0, settlement=Settlement("k", EffectStatus.DONE, _quoted(text["ledger"]))))
            await store.post(post_of("m", text["message"]))

            collected = await store.collect_blobs(before=50.0)

            assert collected == (1, len(b"nobody" * 9))
            left = [name for name, blob in blobs.items() if await store.blob(blob) is not None]
            assert left == [name for name in names if name != "nobody"]

        check(scenario)

    def test_s24_storing_a_blob_again_renews_its_time(self, check: Callable[[Scenario], None]) -> None:
        """So a case that is about to refer to the blob finds it."""

        async def scenario(store: Store) -> None:
            blob = await store.keep(b"again", now=10.0)
            await store.keep(b"again", now=90.0)
            await store.keep(b"again", now=20.0)

            assert await store.collect_blobs(before=90.0) == (0, 0)
            assert await store.collect_blobs(before=90.5) == (1, 5)
            assert await store.blob(blob) is None

        check(scenario)

    def test_s24_deleted_and_erased_cases_refer_to_no_blob(self, check: Callable[[Scenario], None]) -> None:
        """So the next collection deletes its blobs, except those that another case refers to."""

        async def scenario(store: Store) -> None:
            blobs = [await store.keep(content, now=10.0) for content in (b"erased", b"expired", b"shared")]
            fields = [[FieldWrite("a", f"[{blob.model_dump_json()},{blobs[2].model_dump_json()}]", "")] for blob in blobs]
            erased = await ended(store, fields=fields[0], outcome="erased")
            await ended(store, fields=fields[1])
            await new_case(store, fields=fields[2])
            await _erase(store, erased, revision=1)
            await store.expire("p", "sent", before=50.0, at=100.0, limit=9)

            collected = await store.collect_blobs(before=50.0)

            assert collected.blobs == 2
            assert await _there(store, blobs) == [False, False, True]

        check(scenario)

    def test_compacting_changes_nothing(self, check: Callable[[Scenario], None]) -> None:
        """While commits go on."""

        async def scenario(store: Store) -> None:
            case = await _with_everything(store, "one")
            before = await store.dossier(case)

            given_back, new = await asyncio.gather(store.compact(), new_case(store))

            assert given_back >= 0
            assert await store.dossier(case) == before
            assert await store.case(new) is not None

        check(scenario)

    def test_s25_usage_is_counted_once_for_the_case_and_once_for_the_day(self, check: Callable[[Scenario], None]) -> None:
        """A refused transition counts nothing; the usage of a day outlives the case."""

        async def scenario(store: Store) -> None:
            case = await new_case(store, new=NewCase("p", 1, None, tenant="acme"))
            await _answer(store, case, 1, 10.0, UsageWrite("m", 3, 2, 7), UsageWrite("n", 1, 1, 1))
            await _answer(store, case, 2, 86_400.0, UsageWrite("m", 4, 1, 5))
            with pytest.raises(Conflict):
                await _answer(store, case, 2, 86_400.0, UsageWrite("m", 100, 100, 100))
            await store.append(case, [EventWrite("node.late", "write", 1, "{}")], at=86_401.0, usage=[UsageWrite("m", 1, 0, 1)])

            assert await store.usage_of_case(case) == [UsageRow("m", 3, 8, 3, 13), UsageRow("n", 1, 1, 1, 1)]
            assert await store.usage_of_case(case + 1) == []
            assert await store.usage_of_days("p", 0, 0) == [UsageRow("m", 1, 3, 2, 7, 0, "acme"), UsageRow("n", 1, 1, 1, 1, 0, "acme")]
            assert await store.usage_of_days("p", 1, 9, tenant="acme") == [UsageRow("m", 2, 5, 1, 6, 1, "acme")]
            assert await store.usage_of_days("p", 0, 9, tenant="other") == await store.usage_of_days("q", 0, 9) == []
            await _answer(store, case, 3, 86_402.0, **DONE)
            assert await store.expire("p", "sent", before=86_500.0, at=86_501.0, limit=9) == (1, None)
            await store.append(case, [EventWrite("node.late", "write", 1, "{}")], at=86_502.0, usage=[UsageWrite("m", 1, 1, 1)])
            assert await store.usage_of_case(case) == []
            assert [row.answers for row in await store.usage_of_days("p", 0, 9)] == [1, 1, 2]

        check(scenario)

    def test_s25_the_progress_of_a_guard_is_stored_with_its_branch(self, check: Callable[[Scenario], None]) -> None:
        """And deleted with it."""

        async def scenario(store: Store) -> None:
            case = await new_case(store)
            come = BranchRow("write", 0, None, None, None, "digest", '{"repair":1}')
            await store.commit(next_of(case, 1, 0, Status.READY, branches=[come]))

            assert [tuple(row) for row in await store.branches(case)] == [tuple(come)]
            await store.commit(next_of(case, 2, 0, Status.WAITING, ends_branches=True))
            assert await store.branches(case) == ()

        check(scenario)


async def _with_everything(store: Store, word: str) -> int:
    """A case that is done, with one of everything that a case can have, each containing this word."""
    new = NewCase("p", 1, word, correlation=f"c {word}")
    case = await new_case(store, new=new, fields=[FieldWrite("message", f'"{word}"', "")])
    await store.post(post_of(f"m {word}", f'"{word}"', correlation=f"c {word}"))
    [message] = await store.messages(case)
    await store.commit(
        next_of(case, 1, 0, Status.WAITING, inbox=1, takes=[(message.id, MessageStatus.TAKEN)], intent=Intent(f"k {word}", "send", "a", 30.0, again=False),
                branches=[BranchRow("b", 1, None, f'"{word}"')], pause=PauseOpening("approve", f"t {word}", "digest"),
                events=[EventWrite("node.failed", "write", 1, f'{{"error":"ValueError","message":"{word}"}}')])
    )  # fmt: skip
    await store.commit(
        next_of(case, 2, 0, **DONE, settlement=Settlement(f"k {word}", EffectStatus.DONE, f'{{"receipt":"{word}"}}'), leaves_pause=True,
                answered_by="bob", events=[EventWrite("finished", None, 0, '{"outcome":"sent"}')])
    )  # fmt: skip
    return case


async def _answer(store: Store, case: int, revision: int, at: float, *usage: UsageWrite, **more: Any) -> None:
    transition = next_of(case, revision, 0, **{"status": Status.WAITING, "usage": usage, **more})
    transition.at = at
    await store.commit(transition)


async def _erase(store: Store, case: int, revision: int = 3) -> None:
    row = await store.case(case)
    assert row is not None
    erased = [EventWrite("erased", None, 0, '{"by":"anna","why":"asked"}')]
    await store.commit(next_of(case, revision, 0, row.status, outcome=row.outcome, events=erased, erases=True))


async def _there(store: Store, blobs: list[Blob]) -> list[bool]:
    return [await store.blob(blob) is not None for blob in blobs]


def _quoted(text: str) -> str:
    """JSON within JSON, as in the ledger and in branches."""
    return '{"field":"' + text.replace('"', '\\"') + '"}'
