"""Run as a program, this kills an engine at every failpoint of a fan-out, lets the next engine finish, and prints a report."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))

from fanning import order, pricing
from places import HANG_SECONDS

from pointsman import Engine, Failure, Process, Retry, State, finish, otherwise, parallel, when
from pointsman.definition.process import AnyProcess
from pointsman.testing.crash import CrashAt, in_child, recovers
from tiers import kills, points

AGAIN = Retry(attempts_max=3, first_seconds=0)
LIVES_MAX = 20  # more, until one is killed behind a commit of a branch's end: nearly each one is, at its last points
ARTICLES = ("a", "b", "dear", "c", "gone")


class Market:
    """Answers from a file that outlives its process, in which each call leaves a line: "dear" fails once, "gone" always."""

    def __init__(self, file: Path, *, dies_at: int = 0) -> None:
        self.file = file
        self.dies_at = dies_at
        self._counted = 0

    def calls(self) -> Counter[str]:
        return Counter(self.file.read_text().split()) if self.file.exists() else Counter()

    async def ask(self, article: str) -> int:
        earlier = self.calls()[article]
        with self.file.open("a") as lines:
            lines.write(article + "\n")
        self._counted += 1
        if self._counted == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(0)
        if article == "gone" or (article == "dear" and not earlier):
            raise OSError(f"{article} is not on the market")
        return len(article)


class Facts(State):
    name: str
    a: int | Failure | None = None
    dear: int | Failure | None = None
    gone: int | Failure | None = None


def gathering(market: Market, failures: Any) -> Process[Facts]:
    process = Process("facts", Facts)

    def asks(field: str) -> Any:
        async def ask(name: str) -> int:
            return await market.ask(field)

        return process.node(ask, writes=field, name=f"ask_{field}", retry=AGAIN)

    step = parallel(*map(asks, ("a", "dear", "gone")), failures=failures)
    process.rules(when("open", lambda c: c.a is None, step), otherwise(finish("gathered")))
    return process


def kinds(market: Market) -> dict[str, tuple[AnyProcess, dict[str, Any]]]:
    lines = order(*ARTICLES)
    return {
        "parallel of 3, record": (gathering(market, "record"), {"name": "n"}),
        "each over 5, record": (pricing(market, AGAIN, failures="record", at_once=2), lines),  # type: ignore[arg-type]
        "each over 5, fail": (pricing(market, AGAIN, failures="fail", at_once=2), lines),  # type: ignore[arg-type]
    }


def many(folder: Path) -> dict[str, int]:
    """A thousand items, and a death at the 700th call; what that has cost."""
    folder.mkdir()
    articles = [f"a{number}" for number in range(1_000)]

    def price(dies_at: int) -> None:
        async def main() -> None:
            process = pricing(Market(folder / "calls", dies_at=dies_at))  # type: ignore[arg-type]
            async with Engine.open(folder / "cases.db", [process]) as engine:
                await engine.wait_until_resting((await engine.start(process, order(*articles), key="k")).case)

        asyncio.run(main())

    assert in_child(lambda: price(700)) == -signal.SIGKILL
    kept = ended(folder, articles)
    assert recovers(lambda: price(0))
    calls = Market(folder / "calls").calls()
    return {"kept": len(kept), "asked": len(calls), "calls": calls.total(), "repeated": sum(calls[article] > 1 for article in kept)}


def work(folder: Path, kind: str, points: CrashAt) -> None:
    """Start the case, whether it has been started or not, and wait for its end; the end goes into a file."""

    async def main() -> None:
        process, inputs = kinds(Market(folder / "calls"))[kind]
        async with (
            asyncio.timeout(2 * HANG_SECONDS),
            Engine.open(folder / "cases.db", [process], failpoints=points, random=random.Random(7)) as engine,
        ):
            row = await engine.wait_until_resting((await engine.start(process, inputs, key="k")).case)
            state = await engine.state(row.id)
            joined = [event for event in await engine.reader.events(case=row.id) if event.kind == "joined"]
            end = {"status": row.status, "outcome": row.outcome, "reason": row.reason, "state": state.model_dump(mode="json"),
                   "verdicts": [json.loads(event.facts) for event in joined]}  # fmt: skip
            (folder / "end").write_text(json.dumps(end))

    asyncio.run(main())


def ended(folder: Path, articles: Sequence[str] = ARTICLES) -> set[str]:
    """What the branches asked for that had ended durably when the engine died."""
    if not (folder / "cases.db").exists():
        return set()
    with closing(sqlite3.connect(folder / "cases.db")) as connection:
        if not connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'branches'").fetchone()[0]:
            return set()
        names = connection.execute("SELECT name FROM branches WHERE outcome IS NOT NULL OR failure IS NOT NULL").fetchall()
    asked = {f"price[{position}]": article for position, article in enumerate(articles)}
    return {asked.get(name) or name.removeprefix("ask_") for (name,) in names}


def run_one(folder: Path, kind: str, number: int) -> dict[str, Any]:
    """Kill at the point of this number (0: none), let another engine go on, and answer the end."""
    folder.mkdir()
    code = in_child(lambda: work(folder, kind, CrashAt(number)))
    before, kept = Market(folder / "calls").calls(), ended(folder)
    if code:
        assert recovers(lambda: work(folder, kind, CrashAt()))
    after = Market(folder / "calls").calls()
    repeated = sum(after[article] > before[article] for article in kept)
    return {"killed": code != 0, "end": json.loads((folder / "end").read_text()), "repeated": repeated, "saved": len(kept)}


def runs(root: Path, kind: str, place: int) -> list[dict[str, Any]]:
    """Kill at one point after the other, and again at the last one until a life had kept a branch."""
    lives: list[dict[str, Any]] = []
    last = 0

    def live(number: int) -> bool:
        nonlocal last
        lives.append(run_one(root / f"{place}-{len(lives)}", kind, number))
        last = number if lives[-1]["killed"] else last
        return bool(lives[-1]["killed"])

    kills(live, points(kind))
    while not any(life["saved"] for life in lives if life["killed"]) and len(lives) < LIVES_MAX:
        live(last)
    return lives


def report() -> dict[str, Any]:
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for place, kind in enumerate(kinds(Market(Path(name)))):
            whole = run_one(Path(name, f"{place}"), kind, 0)
            lives = runs(Path(name), kind, place)
            told[kind] = {
                "end": whole["end"],
                "killed": sum(run["killed"] for run in lives),
                "different": [run["end"] for run in lives if run["end"] != whole["end"]],
                "repeated": sum(run["repeated"] for run in lives),
                "saved": sum(run["saved"] for run in lives if run["killed"]),
            }
        told["many"] = many(Path(name, "many"))
    return told


if __name__ == "__main__":
    print(json.dumps(report()))
