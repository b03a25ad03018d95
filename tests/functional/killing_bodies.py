"""Run as a program, this kills an engine at every failpoint of a thread, lets the next engine finish, and prints a report.

The shop outside is a file that outlives the process. Each call leaves a line in it, and what happens there is counted from the file.
"""

import json
import random
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))

from later import Ahead
from pointsman import ABSENT, Clock, Context, Found, Idempotent, Reconcile, Retry, SystemClock
from pointsman.functional import INJECTED, Checkpointer, Command, Paused, entrypoint, gather, pause, sleep, task
from pointsman.testing.crash import CrashAt, in_child, recovers
from tiers import kills, points

AGAIN = Retry(attempts_max=3, first_seconds=0)
TIMEOUT_SECONDS = 600.0  # far beyond what a call takes on a machine that is busy or stands still
END = {"found": ["A", "B"], "receipts": ["paid 1", "paid 1"], "label": "sent", "said": "yes"}


class Shop:
    """What is outside. A call that arrives is a line; the process may be killed before and after it."""

    def __init__(self, file: Path, points: CrashAt) -> None:
        self.file = file
        self._points = points

    def lines(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file.exists() else []

    def do(self, line: str) -> None:
        self._points(f"before {line}")
        with self.file.open("a") as lines:
            lines.write(line + "\n")
        self._points(f"after {line}")


def look_for(*, ctx: Context = INJECTED, shop: Shop = INJECTED) -> Any:
    return Found("sent") if f"ship {ctx.key}" in shop.lines() else ABSENT


@task(retry=AGAIN, timeout_seconds=TIMEOUT_SECONDS)
def find(name: str, *, shop: Shop = INJECTED) -> str:
    shop.do(f"find {name}")
    return name.upper()


@task(safety=Idempotent(), timeout_seconds=TIMEOUT_SECONDS)
def charge(amount: int, *, ctx: Context = INJECTED, shop: Shop = INJECTED) -> str:
    shop.do(f"charge {ctx.key}")  # the shop knows a repeated call by its key
    return f"paid {amount}"


@task(safety=Reconcile(look_for, 0.0), timeout_seconds=TIMEOUT_SECONDS)  # so long the look-up waits after a crash
def ship(*, ctx: Context = INJECTED, shop: Shop = INJECTED) -> str:
    shop.do(f"ship {ctx.key}")
    return "sent"


async def buying(order: str) -> dict[str, Any]:
    found = await gather(find("a"), find("b"))
    receipts = [await charge(1), await charge(1)]
    label = await ship()
    sleep(0.001)
    said = pause(order, answer=str, name="said")
    return {"found": found, "receipts": receipts, "label": label, "said": said}


def live(folder: Path, at: CrashAt, clock: Clock, seed: int = 7) -> None:
    """Begin the thread, or go on with it, and answer its pause. Two lives differ in their `seed`, as they make different tokens."""
    checkpointer = Checkpointer(
        folder / "cases.db", resources={"shop": Shop(folder / "shop", at)}, failpoints=at, random=random.Random(seed), clock=clock
    )
    buy = entrypoint(checkpointer=checkpointer, name="buy")(buying)
    with checkpointer:
        end = buy.invoke("order", thread="t", key="k")
        if isinstance(end, Paused):
            end = buy.invoke(Command(resume="yes", digest=end.digest), thread="t")
        (folder / "end").write_text(json.dumps(end))


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        counting, quiet = CrashAt(), Path(root) / "quiet"
        quiet.mkdir()
        assert recovers(lambda: live(quiet, counting, SystemClock()))
        lost: list[int] = []
        doubled: list[int] = []
        again: list[int] = []

        def killed(number: int) -> bool:
            folder = Path(tempfile.mkdtemp(dir=root))
            dead = in_child(lambda: live(folder, CrashAt(number), SystemClock())) == -signal.SIGKILL
            recovered = recovers(lambda: live(folder, CrashAt(), Ahead(2 * TIMEOUT_SECONDS), seed=8))
            if not recovered or json.loads((folder / "end").read_text()) != END:
                lost.append(number)
            calls = Counter((folder / "shop").read_text().splitlines())
            kinds = Counter(line.split()[0] for line in calls)
            again.append(sum(calls.values()) - len(calls))
            if kinds["charge"] != 2 or sum(count for line, count in calls.items() if line.startswith("ship")) != 1:
                doubled.append(number)
            return dead

        dead = kills(killed, points())
        report = {"points": len(counting.labels), "kills": dead, "lost": lost, "duplicated": doubled, "again": sum(again)}
        print(json.dumps(report))


if __name__ == "__main__":
    main()
