"""An answer comes to a case whose draft waits, and the desk is killed at each point of that; prints what became of the mails as JSON.

The argument is at how many points at least, spread over all of them.

The second life takes in the same mails again, as every source does with what was not acknowledged.
"""

import asyncio
import json
import shutil
import sys
import tempfile
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from pointsman.testing.clock import ManualClock
from pointsman.testing.crash import CrashAt, in_child, recovers
from pointsman_desk import desk as at_desk
from pointsman_desk.case import Case
from pointsman_desk.config import DeskConfig
from pointsman_desk.wiring import open_desk

NOON = 1_795_000_000.0  # any moment will do; each life has its own, and with it its own chance
FIRST = "I want my money back for order A-1002."
SECOND = "Any news of it?"


def mail(number: int, text: str, more: str = "") -> str:
    return (
        f"From: john.smith@post.example\nTo: support@haus-und-hof.example\nSubject: My order\nMessage-ID: <mail-{number}@post.example>\n"
        f"Date: Mon, 02 Nov 2026 10:0{number}:00 +0000\n{more}\n{text}\n"
    )


MAILS = {
    "1.eml": mail(1, FIRST),
    "2.eml": mail(2, SECOND, "In-Reply-To: <mail-1@post.example>\n"),
    "3.eml": mail(3, "I am away.", "In-Reply-To: <mail-1@post.example>\nAuto-Submitted: auto-replied\n"),
}


def live(home: Path, names: tuple[str, ...], points: CrashAt, now: float) -> Any:
    """One life of the desk: take in these mails, and say which mails each case has then."""

    async def main() -> Any:
        mailbox = home / "mailbox"
        for name in names:
            mailbox.mkdir(exist_ok=True)
            (mailbox / name).write_text(MAILS[name], encoding="utf-8")
        settings: dict[str, Any] = {"clock": ManualClock(now), "random": Random(now), "failpoints": points}
        async with open_desk(DeskConfig(home=home / "desk", mailbox=mailbox), **settings) as desk:
            await at_desk.work_off(desk, lambda name: None, asyncio.Event())
            states = [await desk.engine.state(row.id, Case) for row in await desk.engine.reader.cases()]
            pending = await desk.engine.pending(1)
            return [
                [[one.email_id for one in state.mails], [one.automatic for one in state.reports], pending.shown["mail"].text]
                for state in states
            ]

    return asyncio.run(main())


def first_life(home: Path, names: tuple[str, ...], points: CrashAt, now: float = NOON) -> int:
    def work() -> None:
        live(home, names, points, now)
        (home / "points").write_text(str(len(points.labels)), encoding="utf-8")

    return in_child(work)


def second_life(home: Path) -> Any:
    ends: list[Any] = []
    assert recovers(lambda: ends.append(live(home, tuple(MAILS), CrashAt(), NOON + 60.0))), "the desk does not come up again"
    return ends[0]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        template = root / "template"
        template.mkdir()
        assert first_life(template, ("1.eml",), CrashAt()) == 0
        whole = root / "whole"
        shutil.copytree(template, whole)
        assert first_life(whole, ("2.eml", "3.eml"), CrashAt(), NOON + 30.0) == 0
        points, killed, ends = int((whole / "points").read_text(encoding="utf-8")), 0, []
        every = max(1, points // int(sys.argv[1]))
        for number in count(1, every):  # until a life has no such point; two mails that share a commit make it shorter
            home = root / str(number)
            shutil.copytree(template, home)
            dies = first_life(home, ("2.eml", "3.eml"), CrashAt(number), NOON + 30.0) == -9
            ends.append(second_life(home))
            shutil.rmtree(home)
            if not dies:
                break
            killed += 1
        wanted = second_life(whole)
    print(
        json.dumps(
            {"points": points, "lives": len(ends), "killed": killed, "wanted": wanted, "other_ends": [end for end in ends if end != wanted]}
        )
    )


if __name__ == "__main__":
    sys.exit(main())
