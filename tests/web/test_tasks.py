"""The page of a task, without a browser: what it shows and what a form does."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from pointsman import Engine, Private, Process, State, Status, finish, otherwise, when
from pointsman.server.access import LocalAccess
from pointsman.server.app import create_app
from pointsman.web import pages
from server.serving import TOKEN, Claim, Letter, Verdict, served
from web.everything import FACTS, everything

BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


def client_of(engine: Engine) -> httpx.AsyncClient:
    app = create_app(engine, LocalAccess("ada", TOKEN), pages())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


async def waiting_case(engine: Engine, text: str = "fire") -> int:
    case = (await engine.start("claims", {"text": text})).case
    await engine.wait_until_resting(case)
    return case


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of the form for the answer."""
    form = page[page.index('class="task"') :]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))


async def answer(client: httpx.AsyncClient, case: int, fields: Mapping[str, str], page: str | None = None) -> httpx.Response:
    page = page or (await client.get(f"/cases/{case}/task", headers=BROWSER)).text
    return await client.post(f"/cases/{case}/task", data={**hidden(page), **fields}, headers=BROWSER)


def test_an_answer_and_an_edit_end_the_task_and_the_next_one_follows(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            first, second = await waiting_case(engine), await waiting_case(engine, "hail")

            answered = await answer(client, first, {"answer.paid": "true", "edit.letter": "Dear Ada,\r\nwe pay."})

            assert (answered.status_code, answered.headers["location"]) == (303, f"/cases/{second}/task?answered={first}")
            row = await engine.wait_until_resting(first)
            state = await engine.state(first)
            assert (row.status, state.letter, state.verdict.paid) == (Status.DONE, "Dear Ada,\nwe pay.", True)
            answered = await answer(client, second, {"answer.paid": "false"})
            assert answered.headers["location"] == f"/?answered={second}"
            assert (await engine.state(second)).letter == "Dear customer, about hail"

    asyncio.run(body())


def test_an_answer_that_is_not_complete_is_shown_again_with_what_was_entered(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            case = await waiting_case(engine)

            refused = await answer(client, case, {"answer.note": "my <b>words</b>", "edit.letter": "my letter"})

            assert refused.status_code == 422
            assert 'id="answer.paid-error">Fill this in.' in refused.text
            assert "my &lt;b&gt;words&lt;/b&gt;</textarea>" in refused.text
            assert "my letter</textarea>" in refused.text
            assert (await engine.case(case)).status is Status.WAITING

    asyncio.run(body())


def test_an_answer_to_what_has_changed_since_shows_the_change_and_keeps_what_was_entered(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            case = await waiting_case(engine)
            page = (await client.get(f"/cases/{case}/task", headers=BROWSER)).text
            again = page.replace(hidden(page)["digest"], "0" * 64)

            refused = await answer(client, case, {"answer.paid": "true", "answer.note": "my words"}, again)

            assert refused.status_code == 409
            assert "has changed since" in refused.text
            assert "my words</textarea>" in refused.text
            assert hidden(refused.text)["digest"] == hidden(page)["digest"]
            assert (await engine.case(case)).status is Status.WAITING

    asyncio.run(body())


def test_a_second_answer_says_who_was_first(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            case = await waiting_case(engine)
            page = (await client.get(f"/cases/{case}/task", headers=BROWSER)).text
            await engine.resume((await engine.pending(case)).token, {"paid": False}, by="grace")

            late = await answer(client, case, {"answer.paid": "true"}, page)

            assert late.status_code == 409
            assert "was answered by <strong>grace</strong>" in late.text

    asyncio.run(body())


def test_an_answer_during_a_computation_is_kept_until_its_result_is_there(tmp_path: Path) -> None:
    slow, begun, goes_on = Process("slow", Claim), asyncio.Event(), asyncio.Event()

    @slow.node(writes="letter")
    async def draft(text: str, later: Letter | None) -> str:
        if later is not None:
            begun.set()
            await goes_on.wait()
        return f"about {text if later is None else later.text}"

    slow.accept(Letter, writes="later", correlate=lambda letter: letter.claim, starts=False)
    assess = slow.pause(name="assess", writes="verdict", answer=Verdict, shows=("letter",), edits=("letter",))
    slow.rules(
        when("no letter", lambda one: one.letter is None, draft),
        when("open", lambda one: one.verdict is None, assess),
        otherwise(finish("done")),
    )

    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [slow]) as engine, client_of(engine) as client:
            case = (await engine.start("slow", {"text": "a floor"}, correlation="7")).case
            await engine.wait_until_resting(case)
            page = (await client.get(f"/cases/{case}/task", headers=BROWSER)).text
            await engine.send("slow", Letter(claim="7", text="a ceiling"))
            await begun.wait()

            during = await answer(client, case, {"answer.paid": "true", "answer.note": "two\nlines"}, page)

            assert during.status_code == 409
            assert "is being computed again" in during.text
            entered = dict(re.findall(r'<input type="hidden" name="([\w.]+)" value="([^"]*)">', during.text[during.text.index("<h1>") :]))
            goes_on.set()
            await engine.wait_until_resting(case)
            after = await client.post(f"/cases/{case}/task", data=entered, headers=BROWSER)
            assert after.status_code == 409
            assert "<del>floor</del><ins>ceiling</ins>" in after.text
            assert "two\nlines</textarea>" in after.text

    asyncio.run(body())


def test_a_second_answer_says_who_was_first_while_the_case_goes_on(tmp_path: Path) -> None:
    slow, begun, goes_on = Process("slow", Claim), asyncio.Event(), asyncio.Event()
    assess = slow.pause(name="assess", writes="verdict", answer=Verdict, shows=("text",))

    @slow.node(writes="letter")
    async def draft(verdict: Verdict) -> str:
        begun.set()
        await goes_on.wait()
        return "we pay" if verdict.paid else "we do not"

    slow.accept(Letter, writes="later", correlate=lambda letter: letter.claim, starts=False)
    slow.rules(
        when("open", lambda one: one.verdict is None, assess),
        when("no letter", lambda one: one.letter is None, draft),
        otherwise(finish("done")),
    )

    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [slow]) as engine, client_of(engine) as client:
            case = (await engine.start("slow", {"text": "a floor"})).case
            await engine.wait_until_resting(case)
            page = (await client.get(f"/cases/{case}/task", headers=BROWSER)).text
            await engine.resume((await engine.pending(case)).token, {"paid": False}, by="grace")
            await begun.wait()

            late = await answer(client, case, {"answer.paid": "true"}, page)

            assert late.status_code == 409
            assert "was answered by <strong>grace</strong>" in late.text
            goes_on.set()
            await engine.wait_until_resting(case)

    asyncio.run(body())


def test_of_many_answers_at_once_one_counts_and_the_others_learn_whose(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            case = await waiting_case(engine)
            page = (await client.get(f"/cases/{case}/task", headers=BROWSER)).text

            sent = await asyncio.gather(*(answer(client, case, {"answer.paid": "true"}, page) for _ in range(8)))

            assert sorted(one.status_code for one in sent) == [303, *[409] * 7]
            assert all("was answered by <strong>ada</strong>" in one.text for one in sent if one.status_code == 409)

    asyncio.run(body())


def test_what_was_entered_survives_a_restart_of_the_program(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, before), client_of(engine) as after:
            case = await waiting_case(engine)
            page = (await before.get(f"/cases/{case}/task", headers=BROWSER)).text

            refused = await answer(after, case, {"answer.paid": "true", "answer.note": "my words"}, page)

            assert refused.status_code == 403
            assert "send it again" in refused.text
            assert "my words</textarea>" in refused.text
            assert (await engine.case(case)).status is Status.WAITING
            assert (await answer(after, case, {"answer.paid": "true", "answer.note": "my words"}, refused.text)).status_code == 303

    asyncio.run(body())


def test_a_form_from_elsewhere_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            case = await waiting_case(engine)
            page = (await client.get(f"/cases/{case}/task", headers=BROWSER)).text
            fields = {**hidden(page), "answer.paid": "true"}
            path = f"/cases/{case}/task"
            sent = {
                "cross-site": await client.post(path, data=fields, headers={"Sec-Fetch-Site": "cross-site"}),
                "same site": await client.post(path, data=fields, headers={"Sec-Fetch-Site": "same-site"}),
                "other origin": await client.post(path, data=fields, headers={"Origin": "https://evil.example"}),
                "no origin": await client.post(path, data=fields),
                "no token": await client.post(path, data={**fields, "csrf": ""}, headers=BROWSER),
                "wrong token": await client.post(path, data={**fields, "csrf": "0" * 64}, headers=BROWSER),
            }

            assert {why: answer.status_code for why, answer in sent.items()} == dict.fromkeys(sent, 403)
            large = await client.post(path, data={**fields, "answer.note": "x" * 2_000_000}, headers=BROWSER)
            many = await client.post(path, data={f"f{number}": "" for number in range(3_000)}, headers=BROWSER)
            other = await client.post(path, json={}, headers=BROWSER)
            assert (large.status_code, many.status_code, other.status_code) == (413, 413, 400)
            assert (await engine.case(case)).status is Status.WAITING
            own = await client.post(path, data=fields, headers={"Origin": "http://127.0.0.1"})
            assert own.status_code == 303

    asyncio.run(body())


def test_errors_are_pages_for_a_browser_and_problems_for_a_program(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (_, client):
            for path in ("/cases/99", "/cases/99/task", "/cases/99999999999999999999", "/nothing"):
                page = await client.get(path, headers=BROWSER)
                assert (path, page.status_code, page.headers["content-type"]) == (path, 404, "text/html; charset=utf-8")
                assert "script-src 'self'" in page.headers["content-security-policy"]
            for path in ("/api/v1/cases/99", "/api/v1/nothing"):
                problem = await client.get(path, headers=BROWSER)
                assert (path, problem.status_code, problem.headers["content-type"]) == (path, 404, "application/problem+json")

    asyncio.run(body())


def test_hidden_characters_of_a_text_are_shown_and_text_is_never_markup(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            case = await waiting_case(engine, "<script>alert(1)</script> \u202efdp.exe\x1b[31m\ufff9\u3164\U000e0041")

            pages = [(await client.get(path, headers=BROWSER)).text for path in ("/", f"/cases/{case}", f"/cases/{case}/task")]

            for page in pages:
                assert "<script>alert" not in page
                assert "&lt;script&gt;alert(1)&lt;/script&gt; ⟦202E⟧fdp.exe⟦001B⟧[31m⟦FFF9⟧⟦3164⟧⟦E0041⟧" in page

    asyncio.run(body())


def test_a_form_of_every_kind_is_filled_in_row_by_row(tmp_path: Path) -> None:
    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [everything]) as engine, client_of(engine) as client:
            case = (await engine.start("everything", {"facts": FACTS})).case
            await engine.wait_until_resting(case)
            sent = {
                "answer.agreed": "false", "answer.reason": "covered", "answer.country": "fr", "answer.note": "", "answer.count": "",
                "answer.at": "2026-11-28T14:30", "answer.address.street": "", "answer.address.town": "", "answer.lines[0]": "4",
                "answer.remedy.kind": "refund", "answer.remedy.refund.amount": "12.50", "answer.remedy.replace.article": "", "answer.more": "{}",
                "edit.table": '{"facts": 7}',
            }  # fmt: skip

            more = await answer(client, case, {**sent, "add": "answer.lines"})
            broken = await answer(client, case, {**sent, "answer.count": "10", "edit.table": '{"facts": "many"}'})
            unread = await answer(client, case, {**sent, "edit.table": "{"})
            answered = await answer(client, case, {**sent, "answer.lines[1]": "", "answer.lines[2]": "5"})

            assert (more.status_code, broken.status_code, unread.status_code, answered.status_code) == (200, 422, 422, 303)
            assert 'name="answer.lines[0]" value="4"' in more.text
            assert 'name="answer.lines[1]" value=""' in more.text
            assert 'id="answer.count-error">Input should be less than or equal to 9.' in broken.text
            assert 'id="edit.table-error">This is not JSON: ' in unread.text
            said = (await engine.state(case)).said
            assert (said.agreed, said.reason, said.country, said.count, said.lines) == (False, "covered", "fr", 1, [4, 5])
            assert (said.address, str(said.remedy.amount), said.at.isoformat()[:16]) == (None, "12.50", "2026-11-28T14:30")
            assert (await engine.state(case)).table == {"facts": 7}

    asyncio.run(body())


def test_an_edit_that_the_field_does_not_take_is_told_beside_it(tmp_path: Path) -> None:
    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [everything]) as engine, client_of(engine) as client:
            case = (await engine.start("everything", {"facts": {}})).case
            await engine.wait_until_resting(case)

            refused = await answer(client, case, {"answer.agreed": "true", "edit.table": '{"facts": "many"}'})

            assert refused.status_code == 422
            assert 'id="edit.table-error">facts: Input should be a valid integer' in refused.text

    asyncio.run(body())


def test_pages_below_a_path_of_another_application_link_to_each_other(tmp_path: Path) -> None:
    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [everything]) as engine:
            app = Starlette(routes=[Mount("/inner", create_app(engine, LocalAccess("ada", TOKEN), pages()))])
            case = (await engine.start("everything", {"facts": FACTS})).case
            await engine.wait_until_resting(case)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", headers=BROWSER) as client:
                for path in ("/inner/", f"/inner/cases/{case}", f"/inner/cases/{case}/task", "/inner/nothing"):
                    page = (await client.get(path)).text
                    places = re.findall(r'(href|src|action|data-live)="(/[^"]*)"', page)
                    assert all(place.startswith("/inner/") for _, place in places), places
                    for link in {place for what, place in places if what in {"href", "src"}}:
                        assert (link, (await client.get(link)).status_code) == (link, 200)

    asyncio.run(body())


def test_json_that_cannot_be_read_is_a_problem_of_its_field(tmp_path: Path) -> None:
    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [everything]) as engine, client_of(engine) as client:
            case = (await engine.start("everything", {"facts": FACTS})).case
            await engine.wait_until_resting(case)
            for text in ("[" * 100_000, '{"a":' * 20_000, "NaN", "1e999", "9" * 5_000, '"\\ud800"', "\x00"):
                for field in ("answer.more", "edit.table"):
                    refused = await answer(client, case, {field: text})
                    assert (text[:5], field, refused.status_code) == (text[:5], field, 422)
                    assert 'role="alert"' in refused.text or "-error" in refused.text

    asyncio.run(body())


@pytest.mark.parametrize("private", [False, True])
def test_a_page_that_fails_says_so_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture, private: bool) -> None:
    class Secretive(State):
        text: Private[str]

    letters = Process("letters", Secretive)
    letters.rules(otherwise(finish("read")))

    async def fails(_: Request) -> Response:
        raise ZeroDivisionError("a secret of the program")

    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [everything, *[letters] * private]) as engine:
            app = create_app(engine, LocalAccess("ada", TOKEN), pages(routes=[("GET", "/own", fails)]))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
                failed = await client.get("/own", headers=BROWSER)

                assert (failed.status_code, failed.headers["content-type"]) == (500, "text/html; charset=utf-8")
                assert "secret" not in failed.text
                assert "the page /own failed: ZeroDivisionError" in caplog.text
                assert ("a secret of the program" in caplog.text) is not private

    asyncio.run(body())
