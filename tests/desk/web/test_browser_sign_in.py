"""Sign-in, roles and four eyes in the browser: two people send a refund, and a third one only looks."""

from pathlib import Path
from random import Random

from argon2 import PasswordHasher
from playwright.async_api import Page, expect

from desk.web.desks import browser_on, desk_with, letter
from pointsman.server.access import Role
from pointsman.server.accounts import Accounts
from pointsman.server.sign_in import SignedIn
from pointsman_desk.wiring import Desk
from server.serving import TOKEN
from web.browsing import Browsing, Chromium

REFUND = letter("My order hasn't arrived and I need it for Monday. Can you refund shipping?")
PASSWORD = "correct horse battery"
PEOPLE = {"ada": Role.APPROVER, "bob": Role.APPROVER, "vera": Role.VIEWER}


def sent(desk: Desk) -> int:
    """Count the replies in the outbox."""
    return len(list((desk.config.outbox / "new").glob("*")))


async def signed_in(visited: Browsing, name: str, to: str = "/") -> Page:
    """Open a page in a browser of its own, and sign in there by keyboard."""
    page = await visited.open(to)
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(page.locator("#name")).to_be_focused()  # it has the focus when the page is drawn, which may be after it has loaded
    await page.keyboard.type(name)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(visited.url + to)
    await page.wait_for_load_state()
    return page


async def approve(page: Page) -> None:
    """Open the first mail of the list, and approve it by keyboard."""
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await expect(page.locator("#body")).to_be_visible()
    await page.wait_for_load_state()
    await page.keyboard.press("a")
    await page.keyboard.press("Enter")


def test_a_refund_leaves_once_when_two_people_have_signed_in_and_approved_it(tmp_path: Path, chromium: Chromium) -> None:
    accounts = Accounts(tmp_path / "accounts", Random(7), PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    for name, role in PEOPLE.items():
        accounts.put_user(name, role, PASSWORD, 1.0)

    async def body() -> None:
        async with desk_with(tmp_path, [REFUND], approval={"four_eyes": ("refund",)}) as desk:
            access = SignedIn(accounts, desk.clock, TOKEN, "ops")
            async with browser_on(desk, chromium, access) as visited:
                ada = await signed_in(visited, "ada")
                await approve(ada)
                await expect(ada.locator("main")).to_contain_text("when a second, different person approves it")
                assert sent(desk) == 0

                vera = await signed_in(visited, "vera", "/cases/1/task")
                await expect(vera.locator("main")).to_contain_text("You may look at this and not decide it")
                assert await vera.locator("main").get_by_role("button").count() == 0

                bob = await signed_in(visited, "bob", "/?pause=countersign")
                await approve(bob)
                await expect(bob.locator("main")).to_contain_text("Case 1 was answered by you: sent")

                state = await desk.engine.state(1)
                assert (state.approval.by, state.second.by, sent(desk)) == ("ada", "bob", 1)
                await vera.reload()
                await expect(vera.locator("main")).to_contain_text("answered by bob")

    chromium.run(body())
    accounts.close()
