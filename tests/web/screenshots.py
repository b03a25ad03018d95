"""Take the screenshots of the documentation: `make screenshots`. Every page, light and dark, wide and on a phone."""

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from insurance_claim import Assessment, claims  # type: ignore[import-not-found]

from desk.web.desks import browser_on, desk_with
from pointsman import Engine
from pointsman.server.access import Access, LocalAccess, Role
from pointsman.server.accounts import Accounts
from pointsman.server.app import create_app
from pointsman.server.running import listening
from pointsman.server.sign_in import SignedIn
from pointsman.web import pages
from server.serving import TOKEN
from web.browsing import Browsing, Chromium
from web.palette import with_palette

SIZES = {"wide": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
THEMES = ("light", "dark")
BYTES_MAX = 150_000
DAMAGE = (
    "a broken window",
    "a flooded cellar",
    "a stolen bicycle",
    "a burnt kitchen",
    "a fallen tree",
    "hail on the roof",
    "a war",
    "a cup",
)


async def take(visited: Browsing, folder: Path, paths: Mapping[str, str]) -> None:
    """Take each page in both themes and sizes. Raises ValueError for a picture that is too large for the repository."""
    blank = await visited.browser.new_page()
    for name, path in paths.items():
        for theme in THEMES:
            for size, viewport in SIZES.items():
                page = await visited.open(path, color_scheme=theme, viewport=viewport)
                picture = await with_palette(blank, await page.screenshot())
                (folder / f"{name}-{theme}-{size}.png").write_bytes(picture)
                await page.context.close()
                if len(picture) > BYTES_MAX:
                    raise ValueError(f"{name}-{theme}-{size}.png has {len(picture):,} bytes, more than {BYTES_MAX:,}; show less on it.")


async def fill(engine: Engine, folder: Path) -> None:
    """Claims that were paid, that wait, and whose payment failed."""
    for number in range(16):
        bank = folder / ("file" if number == 5 else "bank")  # a file where the bank's folder should be: the payment fails
        os.environ["BANK"] = str(bank / "orders")
        asked = 150 if number == 5 else 40 + number * 70
        state = {"customer": f"Customer {number + 1}", "damage": DAMAGE[number % 8], "asked": asked, "iban": f"DE00 00{number:02}"}
        case = (await engine.start(claims, state, key=f"claim {number + 1}")).case
        await engine.wait_until_resting(case)
    os.environ["BANK"] = str(folder / "bank")
    for task in (await engine.tasks(limit=6)).rows:
        decision = "refuse" if task.case % 3 == 0 else "pay"
        answer = Assessment(decision=decision, amount=200, reason="the policy covers it")
        await engine.resume((await engine.pending(task.case)).token, answer, by="anna")
        await engine.wait_until_resting(task.case)


async def take_claims(folder: Path, chromium: Chromium) -> None:
    """Take the pages of the example, and the one to sign in."""
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        (home / "file").write_text("not a folder", encoding="utf-8")
        accounts = Accounts(home / "accounts", Random(7))
        accounts.put_user("ada", Role.ADMIN, "a password for the picture", 0.0)
        async with Engine.open(home / "claims.db", [claims]) as engine:
            await fill(engine, home)
            waiting = (await engine.tasks(limit=1)).rows[0].case
            parked = next(row.id for row in await engine.reader.cases() if row.status == "parked")
            bulk = "/operations/bulk?do=redrive&status=parked"
            shown = {
                "work-list": "/", "task": f"/cases/{waiting}/task", "case": f"/cases/{waiting}", "parked": f"/cases/{parked}", "cases": "/cases",
                "overview": "/overview", "map": "/map", "operations": "/operations", "bulk": bulk,
            }  # fmt: skip
            people: Sequence[tuple[Access, dict[str, str]]] = (
                (LocalAccess("ada", TOKEN), shown),
                (SignedIn(accounts, engine.clock, TOKEN, "ada"), {"sign-in": "/sign-in"}),
            )
            for access, paths in people:
                app = create_app(engine, access, pages())
                async with listening(app, home / "claims.db", TOKEN, "127.0.0.1", 0) as url, chromium.on(url) as visited:
                    await take(visited, folder, paths)
        accounts.close()


async def take_desk(folder: Path, chromium: Chromium) -> None:
    """Take the pages of the desk that are its own, on the sample mails."""
    with tempfile.TemporaryDirectory() as place:
        async with desk_with(Path(place)) as desk, browser_on(desk, chromium) as visited:
            case = (await desk.engine.tasks(limit=1)).rows[0].case
            await take(visited, folder, {"desk-work-list": "/", "desk-mail": f"/cases/{case}/task", "desk-map": "/map"})


def main() -> None:
    """Write the pictures to the folder that the command line names."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for picture in folder.glob("*.png"):
        picture.unlink()
    chromium = Chromium()
    chromium.run(take_claims(folder, chromium))
    chromium.run(take_desk(folder, chromium))
    chromium.close()


if __name__ == "__main__":
    main()
