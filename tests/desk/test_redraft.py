"""A new draft with an instruction: it follows what a person asks, and leaves only when a person has approved it."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from desk.web.desks import client_of, desk_with, letter, post, take_in
from pointsman import NotWaiting, Status
from pointsman.models import Message, Scripted, Task
from pointsman_desk import desk as at_desk
from pointsman_desk.carrying_out import carry_out
from pointsman_desk.case import Case, Language, Mail
from pointsman_desk.commands import Redraft
from pointsman_desk.errors import DeskError, DraftChanged
from pointsman_desk.models.replies import write_reply
from pointsman_desk.steps import APPROVE, COUNTERSIGN
from pointsman_desk.wiring import Desk

REFUND = "My order hasn't arrived and I need it for Monday. Can you refund shipping?"
HOURS = "When are you open?"
FIRST = "Dear customer,\n\nwe look into it and write to you again. We are sorry.\n\n{{signature}}"
SHORTER = "Dear customer,\n\nwe look into it. We are sorry.\n\n{{signature}}"

Says = Callable[[Task], str]


def speaking(says: Says) -> Scripted:
    """A language model that sorts mails as a refund, or as a question about the hours, and drafts what `says` returns."""

    def answer(task: Task, _: Sequence[Message]) -> dict[str, Any]:
        if task.name == "classify":
            mail: Mail = task.inputs["mail"]
            return {"intent": "opening_hours" if "open" in mail.text else "refund", "risk": "low", "language": "en", "order_number": None}
        return {"body": says(task), "tone": "warm", "language": "en"}

    return Scripted(answer)


def follows(task: Task) -> str:
    return SHORTER if task.inputs["brief"].instructions else FIRST


async def draft_of(desk: Desk, case: int = 1) -> str:
    return str((await desk.engine.state(case, Case)).reply.body)  # type: ignore[union-attr]


async def redraft(desk: Desk, instruction: str, seen: str | None = None) -> None:
    await at_desk.redraft(desk, 1, by="ada", instruction=instruction, seen=seen)
    await desk.engine.wait_until_resting(1)


def sent_from(desk: Desk) -> list[bytes]:
    return [file.read_bytes() for file in (desk.config.outbox / "new").glob("*")]


def test_a_new_draft_follows_the_instruction_keeps_the_recipient_and_is_sent_once_when_it_is_approved(tmp_path: Path) -> None:
    model = speaking(follows)

    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)], {"models": [model]}) as desk:
            await at_desk.readdress(desk, 1, by="ada", seen=None, to="office@mail.example", copies=None)
            seen = (await desk.engine.pending(1)).digest
            await redraft(desk, "Shorter.", seen)

            pending = await desk.engine.pending(1)
            assert (await desk.engine.case(1)).step == APPROVE
            assert "write to you again" not in await draft_of(desk)
            assert pending.shown["addressing"].to == "office@mail.example"
            assert (await desk.engine.state(1, Case)).approval is None
            assert sent_from(desk) == []
            with pytest.raises(DraftChanged):
                await at_desk.approve(desk, 1, by="ada", seen=seen)
            await at_desk.approve(desk, 1, by="ada", seen=pending.digest)
            with pytest.raises(NotWaiting):
                await redraft(desk, "Longer.")
            [raw] = sent_from(desk)
            assert b"we look into it. We are sorry." in raw

    asyncio.run(body())
    system, user = model.asked[-1].messages
    assert "Shorter." not in system.content
    before, _, asked = user.content.partition("[what a colleague asks for ")
    assert "| Shorter." in asked
    assert "[the draft so far " in before
    assert "| we look into it and write to you again." in before


def test_a_new_draft_always_waits_for_a_person_also_if_it_could_leave_by_itself(tmp_path: Path) -> None:
    def template(task: Task) -> str:
        brief = task.inputs["brief"]
        return write_reply(brief, author="").body if brief.instructions else FIRST

    async def body() -> None:
        async with desk_with(tmp_path, [letter(HOURS)], {"models": [speaking(template)]}) as desk:
            assert (await desk.engine.case(1)).rule == "the draft is not a reviewed template"
            await redraft(desk, "As always.")

            row, state = await desk.engine.case(1), await desk.engine.state(1, Case)
            assert state.is_template
            assert (row.status, row.rule) == (Status.WAITING, "a person asked for this draft")
            assert sent_from(desk) == []

    asyncio.run(body())


def test_a_newer_mail_voids_the_instruction_and_one_for_the_old_draft_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)], {"models": [speaking(follows)]}) as desk:
            await redraft(desk, "Shorter.")
            seen = (await desk.engine.pending(1)).digest
            await take_in(desk, [letter("And where is it?", "In-Reply-To: <mail-1@mail.example>", number=2)])

            assert "write to you again" in await draft_of(desk)
            assert not (await desk.engine.state(1, Case)).is_redrafted
            with pytest.raises(DraftChanged):
                await redraft(desk, "Shorter still.", seen)
            await redraft(desk, "Shorter.")
            assert "write to you again" not in await draft_of(desk)

    asyncio.run(body())


def test_new_drafts_of_a_reply_are_bounded_and_an_instruction_says_something(tmp_path: Path) -> None:
    model = speaking(lambda task: FIRST.replace("write", "really " * len(task.inputs["brief"].instructions) + "write"))

    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)], {"models": [model]}) as desk:
            for text in (" \n", "x" * 1_001):
                with pytest.raises(DeskError, match="in at most 1,000 characters"):
                    await redraft(desk, text)
            for number in range(at_desk.REDRAFTS_MAX):
                await redraft(desk, "The same again.")
                assert (await draft_of(desk)).count("really") == number + 1
            calls = model.calls
            with pytest.raises(at_desk.NotSendable, match="write the reply yourself"):
                await redraft(desk, "The same again.")
            assert model.calls == calls
            await at_desk.edit(desk, 1, by="ada", body="Dear customer,\n\nby hand.", seen=None, send=False)
            assert (await desk.engine.case(1)).status is Status.WAITING

    asyncio.run(body())


def test_rules_and_templates_leave_the_draft_as_it_was(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)]) as desk, client_of(desk) as client:
            assert "This desk has no language model" in (await client.get("/cases/1/task")).text
            await at_desk.edit(desk, 1, by="ada", body="Dear Maria,\n\nmy own words. I am sorry.", seen=None, send=False)
            before = (await desk.engine.state(1, Case)).reply
            await redraft(desk, "Offer the voucher.")

            assert (await desk.engine.state(1, Case)).reply == before
            assert "Rules and templates do not follow instructions: the draft is as it was." in (await client.get("/cases/1/task")).text
            assert (await desk.engine.case(1)).status is Status.WAITING

    asyncio.run(body())


def test_a_desk_that_dies_between_the_instruction_and_the_draft_goes_on_and_sends_once(tmp_path: Path) -> None:
    class Hanging:
        name = "hanging"

        def __init__(self) -> None:
            self.asked = asyncio.Event()

        async def ask(self, task: Task, messages: Sequence[Message], schema: type[Any]) -> Any:
            self.asked.set()
            await asyncio.Event().wait()

    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)], {"models": [speaking(follows)]}):
            pass
        hanging = Hanging()
        async with desk_with(tmp_path, [], {"models": [hanging], "grace_seconds": 0.0}) as desk:
            asking = asyncio.create_task(at_desk.redraft(desk, 1, by="ada", instruction="Shorter.", seen=None))
            await hanging.asked.wait()
            asking.cancel()
        async with desk_with(tmp_path, [], {"models": [speaking(follows)]}) as desk:
            await desk.engine.wait_until_resting(1)
            assert "write to you again" not in await draft_of(desk)
            assert [one.text for one in (await desk.engine.state(1, Case)).instructions] == ["Shorter."]
            await at_desk.approve(desk, 1, by="ada", seen=None)
            assert len(sent_from(desk)) == 1

    asyncio.run(body())


def test_the_page_asks_for_a_new_draft_and_says_what_came_of_it(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)], {"models": [speaking(follows)]}) as desk, client_of(desk) as client:
            seen = (await desk.engine.pending(1)).digest
            empty = await post(client, 1, "redraft", instruction=" ")
            assert (empty.status_code, "ay what the new draft" in empty.text) == (422, True)

            asked = await post(client, 1, "redraft", instruction="Shorter, <b>please")

            assert (asked.status_code, asked.headers["location"]) == (303, "/cases/1/task?pause=approve&redrafted=1")
            page = (await client.get(asked.headers["location"])).text
            assert "ada asked for a new draft (number 1 of 3)" in page
            assert "Shorter, &lt;b&gt;please" in page
            assert "the draft is as it was" not in page
            stale = await post(client, 1, "redraft", instruction="Kinder.", digest=seen)
            assert (stale.status_code, "<h3>The draft</h3>" in stale.text, "Kinder." in stale.text) == (409, True, True)
            await post(client, 1, "redraft", instruction="The same again.")
            await post(client, 1, "redraft", instruction="The same again.")
            last = (await client.get("/cases/1/task")).text
            assert "There are no more new drafts" in last
            assert "/cases/1/redraft" in page
            assert "/cases/1/redraft" not in last
            await post(client, 1, "approve")
            assert (await desk.engine.case(1)).outcome == "sent"
            replies = (await client.get("/replies")).text
            assert 'approved after a new draft was asked for</th><td class="number">1</td>' in replies

    asyncio.run(body())


def test_what_a_person_has_written_on_the_page_is_the_draft_that_the_instruction_is_about(tmp_path: Path) -> None:
    model = speaking(follows)

    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)], {"models": [model]}) as desk, client_of(desk) as client:
            wrong = await post(client, 1, "redraft", instruction="Shorter.", body="Dear Maria,\r\n\r\nmine.", to="nobody")
            assert (wrong.status_code, "single plain address" in wrong.text, "mine." in wrong.text, "Shorter." in wrong.text) == (
                422,
                True,
                True,
                True,
            )

            await post(client, 1, "redraft", instruction="Shorter.", body="Dear Maria,\r\n\r\nmine.", to="office@mail.example")

            pending = await desk.engine.pending(1)
            [asked] = pending.shown["instructions"]
            assert (asked.draft.body, asked.draft.author, asked.draft.template) == ("Dear Maria,\n\nmine.\n", "ada", None)
            assert pending.shown["addressing"].to == "office@mail.example"
            assert "| mine." in model.asked[-1].messages[1].content
            assert "we look into it" in await draft_of(desk)

    asyncio.run(body())


def test_the_command_is_carried_out_once(tmp_path: Path) -> None:
    model = speaking(follows)

    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)], {"models": [model]}) as desk:
            after = (await desk.engine.reader.events(case=1))[-1].cursor
            command = Redraft(case=1, by="ada", instruction="Shorter.", seen=None)
            await carry_out(desk, command)
            calls = model.calls
            await carry_out(desk, command.model_copy(update={"after": after}))
            assert model.calls == calls
            assert Language.ENGLISH is (await desk.engine.state(1, Case)).reply.language  # type: ignore[union-attr]

    asyncio.run(body())


def test_the_second_person_may_ask_for_a_new_draft_and_then_both_decide_again(tmp_path: Path) -> None:
    async def body() -> None:
        terms = {"approval": {"four_eyes": ("refund",)}}
        async with desk_with(tmp_path, [letter(REFUND)], {"models": [speaking(follows)]}, **terms) as desk:
            await at_desk.approve(desk, 1, by="ada", seen=None)
            assert (await desk.engine.case(1)).step == COUNTERSIGN
            await at_desk.redraft(desk, 1, by="bo", instruction="Shorter.", seen=None)

            await desk.engine.wait_until_resting(1)
            state = await desk.engine.state(1, Case)
            assert ((await desk.engine.case(1)).step, state.approval, state.second) == (APPROVE, None, None)
            await at_desk.approve(desk, 1, by="ada", seen=None)
            assert sent_from(desk) == []
            await at_desk.approve(desk, 1, by="bo", seen=None)
            assert len(sent_from(desk)) == 1

    asyncio.run(body())
