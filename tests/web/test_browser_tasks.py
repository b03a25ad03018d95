"""Tasks in a browser: decided by keyboard, without a script, and live."""

import asyncio
from pathlib import Path

from playwright.async_api import Page, expect

from pointsman import Engine, Status
from server.serving import Letter
from web.browsing import Chromium, arrive, visit


async def waiting_case(engine: Engine, text: str) -> int:
    case = (await engine.start("claims", {"text": text})).case
    await engine.wait_until_resting(case)
    return case


async def send(page: Page) -> None:
    """Send the answer, and wait for the next page: until then, this one may show what has changed."""
    async with page.expect_navigation():
        await page.get_by_role("button", name="Send the answer").click()


def test_a_person_works_the_list_off_with_the_keyboard(tmp_path: Path, chromium: Chromium) -> None:
    async def body() -> None:
        async with visit(tmp_path, chromium) as visited:
            cases = [await waiting_case(visited.engine, text) for text in ("fire", "hail", "theft")]
            page = await visited.open()

            await page.keyboard.press("j")
            await page.keyboard.press("j")
            await page.keyboard.press("k")
            await page.keyboard.press("Enter")
            await arrive(page, f"{visited.url}/cases/{cases[0]}/task")
            await page.keyboard.press("e")
            await page.keyboard.press("Control+A")
            await page.keyboard.type("Dear Ada")
            await page.keyboard.press("Escape")
            await page.keyboard.press("a")
            await page.keyboard.press("Enter")

            await arrive(page, f"{visited.url}/cases/{cases[1]}/task?answered={cases[0]}")
            await visited.engine.wait_until_resting(cases[0])
            state = await visited.engine.state(cases[0])
            assert (state.letter, state.verdict.paid) == ("Dear Ada", True)
            await page.keyboard.press("j")
            await arrive(page, f"{visited.url}/cases/{cases[2]}/task")
            await page.keyboard.press("r")
            await page.keyboard.type("not covered")
            await page.keyboard.press("Tab")
            await page.keyboard.press("Enter")
            await arrive(page, f"{visited.url}/cases/{cases[1]}/task?answered={cases[2]}")
            await visited.engine.wait_until_resting(cases[2])
            verdict = (await visited.engine.state(cases[2])).verdict
            assert (verdict.paid, verdict.note) == (False, "not covered")

    chromium.run(body())


def test_an_answer_needs_no_script(tmp_path: Path, chromium: Chromium) -> None:
    async def body() -> None:
        async with visit(tmp_path, chromium) as visited:
            case = await waiting_case(visited.engine, "fire")
            page = await visited.open(java_script_enabled=False)

            await page.get_by_role("link", name=f"Case {case}: fire").click()
            await page.get_by_role("button", name="Send the answer").click()
            await expect(page.locator(".error")).to_have_text("Fill this in.")
            await page.get_by_label("Yes").check()
            await page.get_by_role("button", name="Send the answer").click()

            await expect(page.locator("main")).to_contain_text(f"Case {case} was answered")
            assert (await visited.engine.wait_until_resting(case)).status is Status.DONE

    chromium.run(body())


def test_an_open_list_shows_a_new_task_and_an_open_form_keeps_what_was_typed(tmp_path: Path, chromium: Chromium) -> None:
    async def body() -> None:
        async with visit(tmp_path, chromium) as visited:
            first = await waiting_case(visited.engine, "fire")
            page, task = await visited.open(), await visited.open(f"/cases/{first}/task")
            await page.keyboard.press("j")
            await task.get_by_label("Note").fill("half a sentence")

            second = await waiting_case(visited.engine, "hail")

            await expect(page.locator(f"[data-row='{second}']")).to_be_visible()
            await expect(page.locator(f"[data-row='{first}']")).to_be_focused()
            await expect(page.locator("#said")).to_have_text("2 tasks wait")
            await expect(task.get_by_label("Note")).to_have_value("half a sentence")

    chromium.run(body())


def test_a_stale_answer_shows_what_has_changed_and_keeps_what_was_typed(tmp_path: Path, chromium: Chromium) -> None:
    async def body() -> None:
        async with visit(tmp_path, chromium) as visited:
            case = (await visited.engine.start("claims", {"text": "a wet floor"}, correlation="7")).case
            await visited.engine.wait_until_resting(case)
            page = await visited.open(f"/cases/{case}/task")
            await page.get_by_label("Yes").check()
            await page.get_by_label("Note").fill("half a sentence")

            await visited.engine.send("claims", Letter(claim="7", text="a wet ceiling"))

            await expect(page.locator("#changed")).to_be_visible()
            await page.get_by_role("button", name="Send the answer").click()
            await expect(page.get_by_role("alert")).to_contain_text("This has changed since you opened it")
            await expect(page.locator("del")).to_have_text("floor")
            await expect(page.locator("ins")).to_have_text("ceiling")
            await expect(page.get_by_label("Note")).to_have_value("half a sentence")
            await expect(page.get_by_label("Letter")).to_have_value("Dear customer, about a wet ceiling")
            await page.get_by_role("button", name="Send the answer").click()
            await expect(page.locator("main")).to_contain_text(f"Case {case} was answered")
            assert (await visited.engine.state(case)).letter == "Dear customer, about a wet ceiling"

    chromium.run(body())


def test_of_two_people_who_answer_at_once_the_second_learns_who_was_first(tmp_path: Path, chromium: Chromium) -> None:
    async def body() -> None:
        async with visit(tmp_path, chromium) as visited:
            case = await waiting_case(visited.engine, "fire")
            one, other = await visited.open(f"/cases/{case}/task"), await visited.open(f"/cases/{case}/task", java_script_enabled=False)
            for page in (one, other):
                await page.get_by_label("Yes").check()

            await asyncio.gather(*map(send, (one, other)))

            for page in (one, other):
                await expect(page.locator("main")).to_contain_text("was answered")
            said = sorted(
                [await page.locator("main").inner_text() for page in (one, other)], key=lambda text: "answered by you" not in text
            )
            assert f"Case {case} was answered" in said[0]
            assert "was answered by ada" in said[1]
            events = await visited.engine.reader.events(case=case)
            assert [event.kind for event in events].count("resumed") == 1

    chromium.run(body())


def test_nothing_is_sent_by_a_stray_key(tmp_path: Path, chromium: Chromium) -> None:
    async def body() -> None:
        async with visit(tmp_path, chromium) as visited:
            case = await waiting_case(visited.engine, "fire")
            page = await visited.open(f"/cases/{case}/task")

            await page.keyboard.press("a")
            await expect(page.get_by_role("button", name="Send the answer")).to_be_focused()
            await page.get_by_label("Yes").focus()
            async with page.expect_navigation():
                await page.keyboard.press("Enter")
            await expect(page.get_by_label("Yes")).to_be_checked()
            await page.keyboard.press("?")
            await page.get_by_label("Use single keys").uncheck()
            await page.keyboard.press("Escape")
            await page.keyboard.press("r")

            await expect(page.get_by_label("Yes")).to_be_checked()
            assert (await visited.engine.case(case)).status is Status.WAITING

    chromium.run(body())
