"""Two people for money and legal: nothing is sent before a second, different person has approved the same bytes."""

import asyncio
from pathlib import Path

import pytest

from desk.web.desks import Named, client_of, desk_with, letter, post
from desk.web.test_stopped import Breaks
from pointsman import AnswerInvalid, AtMostOnce, Rejected, Status
from pointsman.definition.pauses import Pause
from pointsman.definition.signature import SIGNED
from pointsman_desk import desk as at_desk
from pointsman_desk.errors import DeskError
from pointsman_desk.wiring import Desk

REFUND = letter("My order hasn't arrived and I need it for Monday. Can you refund shipping?")
MONEY = {"approval": {"four_eyes": ("refund", "legal")}}


def _sent(desk: Desk) -> int:
    return len(list((desk.config.outbox / "new").glob("*")))


def test_a_reply_about_money_leaves_when_a_second_person_approves_the_same_bytes(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [REFUND], **MONEY) as desk:
            row = await at_desk.approve(desk, 1, by="ada", seen=None)
            assert (row.status, row.step, _sent(desk)) == (Status.WAITING, "countersign", 0)
            with pytest.raises(DeskError, match="second, different person"):
                await at_desk.approve(desk, 1, by="ada", seen=None)

            row = await at_desk.approve(desk, 1, by="bea", seen=None)

            assert (row.outcome, _sent(desk)) == ("sent", 1)

    asyncio.run(body())


def test_the_process_itself_asks_again_when_the_same_person_answers_twice_or_in_another_name(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [REFUND], **MONEY) as desk:
            await at_desk.approve(desk, 1, by="ada", seen=None)
            pending = await desk.engine.pending(1)
            approval = {"decision": "approve", "by": "ada", "sha256": pending.beside["outgoing"].sha256}
            with pytest.raises(AnswerInvalid, match="names 'bea' in 'by', but 'ada' gives it"):
                await desk.engine.resume(pending.token, {**approval, "by": "bea"}, by="ada")

            await desk.engine.resume(pending.token, approval, by="ada")
            await desk.engine.wait_until_resting(1)

            assert ((await desk.engine.case(1)).step, _sent(desk)) == ("countersign", 0)

    asyncio.run(body())


def test_what_a_second_person_changes_is_approved_by_two_people_anew(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [REFUND], **MONEY) as desk:
            await at_desk.approve(desk, 1, by="ada", seen=None)
            text = (await desk.engine.state(1)).reply.body.replace("Kind regards", "Best regards")

            row = await at_desk.edit(desk, 1, by="bea", body=text, seen=None, send=True)

            assert (row.step, _sent(desk)) == ("countersign", 0)
            with pytest.raises(DeskError, match="second, different person"):
                await at_desk.approve(desk, 1, by="bea", seen=None)
            row = await at_desk.approve(desk, 1, by="ada", seen=None)
            assert (row.outcome, _sent(desk)) == ("sent", 1)

    asyncio.run(body())


def test_a_second_person_may_reject_and_other_mails_need_one_person(tmp_path: Path) -> None:
    async def body() -> None:
        other = letter("Please cancel my order A-1001.", number=2, subject="Cancel")
        async with desk_with(tmp_path, [REFUND, other], **MONEY) as desk:
            await at_desk.approve(desk, 1, by="ada", seen=None)
            row = await at_desk.reject(desk, 1, by="bea", why="too much", seen=None)
            assert (row.outcome, _sent(desk)) == ("rejected", 0)

            row = await at_desk.approve(desk, 2, by="ada", seen=None)
            assert (row.outcome, _sent(desk)) == ("sent", 1)

    asyncio.run(body())


def test_in_the_browser_the_first_is_told_to_wait_and_the_second_sees_who_approved(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [REFUND], **MONEY) as desk, client_of(desk, Named()) as client:
            await post(client, 1, "approve")
            assert "1 reply waits" in (await client.get("/")).text
            again = await post(client, 1, "approve")
            assert again.status_code == 422
            assert "different person" in again.text
            client.headers["X-Who"] = "bea"
            assert "ada has approved this" in (await client.get("/cases/1/task")).text

            await post(client, 1, "approve")

            assert ((await desk.engine.case(1)).outcome, _sent(desk)) == ("sent", 1)

    asyncio.run(body())


def test_an_operator_forges_no_approval_and_changes_no_approved_reply(tmp_path: Path) -> None:
    async def body() -> None:
        refused = {"transport": Breaks(Rejected("no such mailbox")), "safety": AtMostOnce()}
        async with desk_with(tmp_path, [REFUND], refused, **MONEY) as desk, client_of(desk, Named()) as client:
            await at_desk.approve(desk, 1, by="ada", seen=None)
            await at_desk.approve(desk, 1, by="bea", seen=None)
            assert (await desk.engine.case(1)).status is Status.PARKED
            state = await desk.engine.state(1)
            assert state.approval is not None
            forged = {"why": "w", "fields": {"second": {**state.approval.model_dump(mode="json"), "by": "cleo"}}}
            told = await client.post("/api/v1/cases/1/redrive", json=forged)
            assert (told.status_code, "'second' is what a person answers at pause 'countersign'" in told.json()["detail"]) == (409, True)
            other = {**state.outgoing.model_dump(mode="json"), "to": "mallory@else.example"}
            moved = await client.post("/api/v1/cases/1/redrive", json={"why": "w", "fields": {"outgoing": other, "send_status": "pending"}})

            assert moved.status_code == 200
            await desk.engine.wait_until_resting(1)
            state = await desk.engine.state(1)
            assert ((await desk.engine.case(1)).step, state.approval, state.second) == ("approve", None, None)

    asyncio.run(body())


def test_every_answer_that_has_a_name_is_signed(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [REFUND], **MONEY) as desk:
            answers = [step.answer for step in desk.process.steps.values() if isinstance(step, Pause)]

            named = {answer: answer.model_fields["by"].metadata for answer in answers if "by" in getattr(answer, "model_fields", {})}

            assert named
            assert [answer for answer, marks in named.items() if SIGNED not in marks] == []

    asyncio.run(body())
