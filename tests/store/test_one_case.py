"""The store of one case: what it counts, wakes and remembers, as the stores with many cases do."""

import asyncio
import json
from typing import Any

import pytest

from pointsman.kernel.case import PastIntent
from pointsman.kernel.messages import CHILD_ENDED
from pointsman.kernel.rows import Address, CaseRow, EventWrite, FieldRow, MessageStatus, PauseOpening, Post, Transition, WhileOpen
from pointsman.kernel.snapshot import Status
from pointsman.store.one_case import PAUSES_MAX, CaseRecord, OneCase

LATER = 500.0
TEXT = FieldRow("text", '"a letter"', "", 1)


def store_of(status: Status = Status.READY, **more: Any) -> OneCase[CaseRecord]:
    row = CaseRow(1, "letters", 1, status=status, revision=3, wake_at=LATER, step="send")
    return OneCase(CaseRecord(row, "incarnation", {"text": TEXT}, **more))


def commit(store: OneCase[CaseRecord], status: Status = Status.RUNNING, **more: Any) -> None:
    row = store.record.row
    asyncio.run(store.commit(Transition(row.id, row.revision, row.fence, 20.0, status, step="send", **more)))


def test_an_interrupted_attempt_does_not_count_and_its_claim_is_not_that_of_the_next_one() -> None:
    store = store_of()

    first = store.claim().case
    store.recover(30.0)
    second = store.claim().case

    assert (first.status, first.attempts, first.wake_at) == (Status.RUNNING, 1, None)
    assert (second.attempts, second.interruptions) == (1, 1)
    assert second.fence > first.fence + 1


@pytest.mark.parametrize(
    ("status", "while_open", "wakes"),
    [
        (Status.WAITING, "append", True),
        (Status.PARKED, "append", True),
        (Status.READY, "supersede", True),
        (Status.READY, "append", False),
        (Status.RUNNING, "supersede", False),
    ],
)
def test_a_message_wakes_a_case_that_rests_and_one_that_supersedes_also_a_case_that_waits_to_try_again(
    status: Status, while_open: WhileOpen, wakes: bool
) -> None:
    store = store_of(status)

    woken = store.take_in(Post(Address("letters"), "letter", None, "{}", 30.0, while_open), 1, 40.0, {})

    row = store.record.row
    assert woken == wakes
    assert (row.status, row.wake_at, row.inbox) == ((Status.READY, 40.0, 1) if wakes else (status, LATER, 1))


def test_the_fields_of_a_child_are_kept_until_its_end_is_taken_in() -> None:
    store = store_of(Status.WAITING)
    end = Post(Address("letters", case=1), CHILD_ENDED, "7", json.dumps({"case": 7}), 30.0)
    reply = FieldRow("reply", '"yes"', "write", 2)

    store.take_in(end, 1, 40.0, {"reply": reply})
    kept = asyncio.run(store.fields(7))
    commit(store, inbox=1, takes=[(1, MessageStatus.TAKEN)])

    assert kept == (reply,)
    assert (store.record.ends, store.record.messages) == ({}, ())


def test_a_child_that_is_found_again_is_one_child() -> None:
    store = store_of()

    for revision in (1, 2):
        store.has_started(CaseRow(7, "children", 1, revision=revision), {})

    assert [child.revision for child in asyncio.run(store.children(1))] == [2]


def test_the_first_intent_of_an_effect_is_remembered_with_the_fields_that_undo_it() -> None:
    store = store_of(Status.RUNNING)
    store.undone = lambda effect: effect == "send"

    for key, step in (("one", "send"), ("two", "book"), ("one", "send")):
        commit(store, events=[EventWrite("effect.intended", step, 1, json.dumps({"key": key}))])
        store.record.fields = {}

    assert store.record.history.intents == {"one": PastIntent(0, 1, (TEXT,)), "two": PastIntent(1, 1, ())}


def test_the_latest_pauses_are_remembered_and_one_that_was_answered_is_not_open() -> None:
    store = store_of(Status.RUNNING)

    for number in range(2 * PAUSES_MAX):
        commit(store, Status.WAITING, pause=PauseOpening("approval", f"token {number}", "digest"))
        commit(store, leaves_pause=True, answered_by="anna")

    assert store.record.pause is None
    assert len(store.record.pauses) == PAUSES_MAX + 1
    assert {pause.closed_by for pause in store.record.pauses} == {"anna"}
    assert asyncio.run(store.pause_by_token(f"token {2 * PAUSES_MAX - 1}")) == store.record.pauses[-1]
