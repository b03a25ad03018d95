"""The page of a mail: the conversation, the draft's sources, and what becomes of decisions that do not fit."""

import asyncio
import re
from pathlib import Path

import httpx

from desk.web.desks import Named, client_of, desk_with, hidden, letter, post, take_in
from pointsman import Status

REFUND = "My order hasn't arrived and I need it for Monday. Can you refund shipping?"


def with_file(name: str, content: str, media_type: str = "image/svg+xml") -> bytes:
    head, _, text = letter(REFUND, "MIME-Version: 1.0", 'Content-Type: multipart/mixed; boundary="b"').partition(b"\n\n")
    part = f"\n--b\nContent-Type: {media_type}\nContent-Disposition: attachment; {name}\n\n{content}\n--b--\n".encode()
    return head + b"\n\n--b\nContent-Type: text/plain\n\n" + text + part


def test_what_the_draft_uses_of_the_order_and_the_policy_is_marked(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)]) as desk, client_of(desk) as client:
            html = (await client.get("/cases/1/task")).text

            used = re.findall(r'class="used"><dt>([^<]+)</dt>', html)
            assert used == ["Number", "Customer", "Shipping", "Due", "Tracking", "Shipping"]
            assert "The order was placed with this address" in html

    asyncio.run(body())


def test_earlier_mails_and_replies_of_the_conversation_are_on_the_page(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)], follow_up={"wait_days": 14}) as desk, client_of(desk) as client:
            await post(client, 1, "approve")
            again = letter("And where is it now?\n\n> We will refund the shipping", "In-Reply-To: <mail-1@mail.example>", number=2)
            await take_in(desk, [again])

            html = (await client.get("/cases/1/task")).text

            assert "We answered maria.keller@mail.example" in html
            assert "Can you refund shipping?" in html
            assert "Where is it now" not in html
            assert re.search(r"<details id=\"quoted-newest\"><summary>1 quoted line", html)

    asyncio.run(body())


def test_a_reply_that_breaks_a_rule_is_sent_only_after_a_second_confirmation(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)]) as desk, client_of(desk) as client:
            kept = await post(client, 1, "approve", body="We will refund 5000 EUR.", to="maria.keller@mail.example")
            assert kept.headers["location"].startswith("/cases/1/task")
            assert "was not sent" in (await client.get(kept.headers["location"])).text

            asked = await post(client, 1, "approve")

            assert asked.status_code == 422
            assert 'name="despite" value="yes"' in asked.text
            assert (await desk.engine.case(1)).status is Status.WAITING
            await post(client, 1, "approve", despite="yes")
            assert (await desk.engine.case(1)).outcome == "sent"
            assert (await desk.engine.state(1)).approval.despite_violations

    asyncio.run(body())


def test_a_stale_draft_shows_what_has_changed_and_keeps_what_was_typed(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)]) as desk, client_of(desk) as client:
            html = (await client.get("/cases/1/task")).text
            form = {"csrf": hidden(html, "csrf"), "digest": hidden(html, "digest"), "to": "maria.keller@mail.example"}
            await take_in(desk, [letter("Forget the refund, I want to cancel A-1001.", "In-Reply-To: <mail-1@mail.example>", number=2)])

            stale = await client.post("/cases/1/approve", data={**form, "body": "Dear Maria, my own words."})

            assert stale.status_code == 409
            assert "Dear Maria, my own words." in stale.text
            assert "<h3>The mail</h3>" in stale.text
            assert "Forget" in stale.text
            assert (await desk.engine.case(1)).status is Status.WAITING
            assert not list((desk.config.outbox / "new").glob("*"))

    asyncio.run(body())


def test_the_second_of_two_people_is_told_who_decided_and_when(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)]) as desk, client_of(desk, Named()) as client:
            html = (await client.get("/cases/1/task", headers={"X-Who": "bea"})).text
            form = {"csrf": hidden(html, "csrf"), "digest": hidden(html, "digest")}
            await post(client, 1, "approve")

            late = await client.post("/cases/1/approve", data=form, headers={"X-Who": "bea"})

            assert late.status_code == 409
            assert re.search(r"answered by <strong>ada</strong> <time", late.text)
            assert len(list((desk.config.outbox / "new").iterdir())) == 1

    asyncio.run(body())


def test_a_person_chooses_the_recipient_among_the_known_ones_or_writes_another(tmp_path: Path) -> None:
    async def body() -> None:
        mail = letter(REFUND, "Reply-To: other@mail.example")
        async with desk_with(tmp_path, [mail]) as desk, client_of(desk) as client:
            html = (await client.get("/cases/1/task")).text
            assert re.findall(r'<option value="([^"]+)">([^<]+)', html) == [
                ("maria.keller@mail.example", "the sender and the address of the order"), ("other@mail.example", "the Reply-To of the mail"),
            ]  # fmt: skip

            refused = await post(client, 1, "edit", to="x y", body=(await desk.engine.state(1)).reply.body)
            assert refused.status_code == 422
            assert 'value="x y"' in refused.text
            await post(client, 1, "edit", to="other@mail.example", body=(await desk.engine.state(1)).reply.body)

            assert (await desk.engine.state(1)).addressing.to == "other@mail.example"

    asyncio.run(body())


def test_reasons_to_close_a_mail_come_from_the_configuration(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)], approval={"reasons": ("Told by chat",)}) as desk, client_of(desk) as client:
            assert 'value="Told by chat"' in (await client.get("/cases/1/task")).text
            assert (await post(client, 1, "reject")).status_code == 422

            await post(client, 1, "reject", reason="Told by chat")

            assert (await desk.engine.state(1)).approval.note == "Told by chat"

    asyncio.run(body())


async def _file(client: httpx.AsyncClient) -> httpx.Response:
    found = re.search(r'href="(/cases/1/attachments/\w+)"', (await client.get("/cases/1/task")).text)
    assert found is not None
    return await client.get(found[1])


def test_an_attachment_is_a_download_whatever_its_name_and_type(tmp_path: Path) -> None:
    names = (
        'filename="../../etc/passwd.svg"', "filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x%3D1.svg", 'filename="..\\\\..\\\\x.svg"',
        'filename="a\u202egvs.exe"',
    )  # fmt: skip

    async def body() -> None:
        for number, given in enumerate(names):
            mail = with_file(given, "<svg onload=alert(1)>")
            async with desk_with(tmp_path / str(number), [mail]) as desk, client_of(desk) as client:
                answer = await _file(client)

                assert answer.headers["content-type"] == "application/octet-stream"
                saved = re.fullmatch(r"attachment; filename\*=UTF-8''([A-Za-z0-9%._~-]+)", answer.headers["content-disposition"])
                assert saved is not None
                assert not re.search(r"(?i)%2f|%5c|%0d|%0a|%e2%80%ae|^\.", saved[1])
                assert answer.headers["content-security-policy"].startswith("default-src 'none'; sandbox")
                assert "set-cookie" not in answer.headers

    asyncio.run(body())


def test_a_download_is_found_by_its_digest_and_never_by_a_path(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [with_file('filename="a.svg"', "<svg>")]) as desk, client_of(desk) as client:
            for wrong in ("0" * 64, "..%2f..%2f..%2fcases.db", "%2e%2e/%2e%2e/secret", "cases.db"):
                answer = await client.get(f"/cases/1/attachments/{wrong}")

                assert answer.status_code in {404, 405}, wrong

    asyncio.run(body())


def test_no_page_decides_on_a_get_and_a_viewer_decides_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)]) as desk, client_of(desk, Named()) as client:
            for action in ("approve", "edit", "reject", "sort", "close", "resolve", "redrive", "cancel", "reopen"):
                assert (await client.get(f"/cases/1/{action}")).status_code in {404, 405}
                client.headers["X-Who"] = "viewer"
                assert (await post(client, 1, action)).status_code == 403
                client.headers["X-Who"] = "ada"
                no_token = await client.post(f"/cases/1/{action}", data={"digest": "x"})
                assert no_token.status_code == 403

            assert (await desk.engine.case(1)).status is Status.WAITING

    asyncio.run(body())


def test_a_mail_is_taken_and_escalated_to_the_lead_and_its_draft_stays(tmp_path: Path) -> None:
    async def body() -> None:
        settings = {"approval": {"lead": "lea", "lead_hours": 2}}
        async with desk_with(tmp_path, [letter(REFUND)], **settings) as desk, client_of(desk) as client:
            before = await desk.engine.pending(1)
            assert (await desk.engine.case(1)).wake_at == before.since + 2 * 3_600

            taken = await post(client, 1, "assign", assign="me")
            assert (taken.status_code, taken.headers["location"]) == (303, "/cases/1/task?pause=approve")
            assert "for ada" in (await client.get("/cases/1/task")).text
            passed = await post(client, 1, "assign", assign="escalate", asked="ada", note="a lawyer writes")

            assert (passed.status_code, passed.headers["location"]) == (303, "/?pause=approve&assigned=1")
            assert "for lea" in (await client.get("/?assignee=lea")).text
            assert await desk.engine.pending(1) == before._replace(assignee="lea", escalates_to="")
            await post(client, 1, "approve")
            assert (await desk.engine.case(1)).outcome == "sent"

    asyncio.run(body())
