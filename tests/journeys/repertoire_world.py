"""Kill the engine at every labelled point of the lives of small processes, on a SQLite file, and look at what the world got.

Run as a script: it forks a child for each life, so it must have no threads itself. The world outside is a folder: what effects
did, and what senders and people were answered, each a line on the disk before anything follows from it. A sender that got no
answer sends again, with the same key; one that got an answer does not. `--control NAME` breaks the store in one way.
"""

import asyncio
import gc
import json
import os
import shutil
import sqlite3
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import closing
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))

from repertoire_stories import STORIES, Story

from pointsman import Engine, Status
from pointsman.store.sqlite import open_sqlite
from pointsman.store.sqlite_author import authors_database
from pointsman.store.sqlite_core import SqliteCore
from pointsman.testing.clock import ManualClock
from pointsman.testing.crash import CrashAt, in_child, recovers
from tiers import tried

NOON = 1_795_000_000.0  # any moment will do
LITTLE_SECONDS = 1.0
TRIES_MAX = 3  # what shares a commit differs from life to life, and then one has fewer points
HANG_SECONDS = 60  # far beyond any life here


class Outside:
    """The world: nothing of it dies with the engine."""

    def __init__(self, home: Path, points: Callable[[str], None]) -> None:
        self.home = home
        self.points = points
        self._news = asyncio.Event()

    def lines(self, name: str) -> list[str]:
        file = self.home / name
        return file.read_text().splitlines() if file.exists() else []

    def write(self, name: str, line: str) -> None:
        with (self.home / name).open("a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._news.set()

    def did(self, what: str, key: str, *, knows_keys: bool = True) -> str:
        """An effect: a line for each, and none for a key that the other side knows."""
        self.points("world.reached")
        if not knows_keys or all(line.split("\t")[1] != key for line in self.lines("done")):
            self.write("done", f"{what}\t{key}")
        self.points("world.took")
        return what

    def answered(self, name: str) -> bool:
        return name in self.lines("answered")

    async def until_answered(self, name: str) -> None:
        """Wait, in a node, until a sender has been answered."""
        while not self.answered(name):
            self._news.clear()
            await self._news.wait()


class Life:
    """What a story is told with: each act is done once, by whoever was not answered before the last kill."""

    def __init__(self, engine: Engine, outside: Outside, clock: ManualClock) -> None:
        self.engine = engine
        self.outside = outside
        self._clock = clock

    async def once(self, name: str, act: Callable[[], Awaitable[object]]) -> None:
        if not self.outside.answered(name):
            await act()
            self.outside.points("world.answered")
            self.outside.write("answered", name)

    async def send(self, process: str, message: Any, key: str, *, name: str | None = None) -> None:
        await self.once(key, lambda: self.engine.send(process, message, key=key, name=name))

    async def start(self, process: str, inputs: dict[str, Any], key: str, *, correlation: str | None = None) -> None:
        await self.once(key, lambda: self.engine.start(process, inputs, key=key, correlation=correlation))

    async def rest(self) -> None:
        """Return when nothing is in hand or due; what is in doubt is resolved by what the world says."""
        while True:
            await self.engine.idle(horizon_seconds=0)
            counts = await self.engine.reader.counts()
            if Status.READY in counts or Status.RUNNING in counts:  # what may have ended the last engine is looked at a little later
                self._move_clock(LITTLE_SECONDS)
                continue
            doubtful = await self.engine.reader.in_doubt()
            for entry in doubtful:
                what = [line.split("\t")[0] for line in self.outside.lines("done") if line.endswith("\t" + entry.key)]
                await self.engine.resolve(entry.key, happened=bool(what), by="anna", why="asked them", outcome=what[0] if what else None)
            if not doubtful:
                return

    async def when(self, process: str, *statuses: Status) -> list[int]:
        """The cases of a process that stand so, once everything rests."""
        await self.rest()
        return [row.id for row in await self.engine.reader.cases(process=process) if row.status in statuses]

    async def approve(self, process: str, what: str, answer: object = "yes") -> None:
        """Answer every pause that a process has open."""

        async def answer_all() -> None:
            for case in await self.when(process, Status.WAITING):
                pending = await self.engine.pending(case)
                await self.engine.resume(pending.token, answer, by="anna")

        await self.once(what, answer_all)

    async def cancel(self, process: str, what: str) -> None:
        async def cancel_all() -> None:
            for case in await self.when(process, Status.WAITING):
                await self.engine.cancel(case, by="anna", why="no longer wanted")

        await self.once(what, cancel_all)

    async def pass_time(self, seconds: float, what: str) -> None:
        """Move the clock, which the next life reads as well."""
        await self.rest()
        if not self.outside.answered(what):
            self._move_clock(seconds)
            self.outside.write("answered", what)
        await self.rest()

    def _move_clock(self, seconds: float) -> None:
        self.outside.write("time", str(seconds))
        self._clock.advance(seconds)

    async def either(self, *waits: Coroutine[Any, Any, object]) -> None:
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


class Forgetful:
    """The controls: a store with one thing left out."""

    def __init__(self, store: Any, control: str) -> None:
        self._store = store
        self._control = control

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def post(self, post: Any, start: Any = None, **more: Any) -> Any:
        if self._control == "no identity":
            post = post._replace(key=None)
        return await self._store.post(post, start, **more)

    async def transact(self, work: Any) -> int:
        if self._control != "rows apart":
            return await self._store.transact(work)
        made: list[Any] = []

        def write(core: SqliteCore) -> None:
            connection = core.connection
            connection.execute("SAVEPOINT rows")
            try:
                with authors_database(connection) as db:
                    made.append(work(db))
            except Exception as error:
                made.append(error)
                connection.execute("ROLLBACK TO rows")
            connection.execute("RELEASE rows")

        await self._store._commit(write)
        if isinstance(made[-1], Exception):
            raise made[-1]
        return await self._store.commit(made[-1])


def live(home: Path, story: Story, points: CrashAt, control: str | None) -> None:
    """One life of the engine: the story, as far as it is not told yet, to its end."""

    async def main() -> None:
        outside = Outside(home, points)
        clock = ManualClock(NOON + sum(map(float, outside.lines("time"))))
        store: Any = await open_sqlite(home / "cases.db", now=clock.now(), failpoints=points)
        if control is not None:
            store = Forgetful(store, control)
        processes = story.processes(outside)
        async with (
            asyncio.timeout(HANG_SECONDS),
            Engine.open(
                home / "cases.db", processes, store=store, clock=clock, random=Random(len(outside.lines("lives"))), failpoints=points,
                resources={"outside": outside}, grace_seconds=0.0,
            ) as engine,
        ):  # fmt: skip
            life = Life(engine, outside, clock)
            await story.told(life)
            await life.rest()

    with (home / "lives").open("a") as lives:
        lives.write("life\n")
    asyncio.run(main())


ENDS = {
    "cases": "SELECT process, status, outcome, reason, key, correlation, (SELECT state FROM states WHERE states.id = cases.id) AS state FROM cases",
    "messages": "SELECT process, name, status, body FROM messages WHERE name NOT LIKE 'pointsman.%'",
    "seats": "SELECT who FROM seats",
}
TWICE = """
SELECT count(*) FROM (
  SELECT 1 FROM events WHERE kind = 'message.received' GROUP BY json_extract(facts, '$.message') HAVING count(*) > 1)
"""


def look(home: Path, story: Story) -> dict[str, Any]:
    """How everything ended, as multisets of texts; numbers of cases, tokens and times are left out."""
    with closing(sqlite3.connect(home / "cases.db")) as connection:
        connection.row_factory = sqlite3.Row
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
        ends = {}
        for what, query in ENDS.items():
            rows = [dict(row) for row in connection.execute(query)] if what != "seats" or "seats" in tables else []
            for row in rows:
                if what == "cases":
                    state = json.loads(row["state"])
                    row["state"] = {name: value for name, value in state.items() if name not in story.ignores}
                    row["key"] = "a child" if (row["key"] or "").startswith("child:") else row["key"]
            ends[what] = Counter(json.dumps(row, sort_keys=True) for row in rows)
        [(twice,)] = connection.execute(TWICE).fetchall()
    ends["effects"] = Counter(line.split("\t")[0] for line in Outside(home, lambda _: None).lines("done"))
    return ends | {"twice": twice}


def empty(root: Path) -> Path:
    """A file with the tables and no cases, so that not every life has to make them."""

    async def make() -> None:
        await (await open_sqlite(root / "empty" / "cases.db", now=NOON)).close()

    (root / "empty").mkdir()
    assert in_child(lambda: asyncio.run(make())) == 0
    return root / "empty"


def count_points(story: Story, home: Path) -> tuple[list[str], dict[str, Any]]:
    shutil.copytree(home.parent / "empty", home)

    def work() -> None:
        points = CrashAt()
        live(home, story, points, None)
        (home / "labels.json").write_text(json.dumps(points.labels))

    assert in_child(work) == 0, f"the quiet life of {story.name!r} failed"
    return json.loads((home / "labels.json").read_text()), look(home, story)


def crash_and_recover(story: Story, home: Path, number: int, control: str | None) -> dict[str, Any]:
    shutil.copytree(home.parent / "empty", home)
    first = in_child(lambda: live(home, story, CrashAt(number), control))
    recovered = not first or recovers(lambda: live(home, story, CrashAt(), control))
    result = {"killed": first == -9, "recovered": recovered, "ends": look(home, story)}
    shutil.rmtree(home)
    return result


def compare(quiet: dict[str, Any], ends: dict[str, Any]) -> dict[str, int]:
    """What is missing, and what is there too often; of effects, messages and author's rows, not of states."""
    counted = {"lost": 0, "duplicated": int(ends["twice"])}
    for what in ("effects", "messages", "seats"):
        counted["lost"] += (quiet[what] - ends[what]).total()
        counted["duplicated"] += (ends[what] - quiet[what]).total()
    return counted


def main(root: Path, stories: list[Story], control: str | None) -> dict[str, Any]:
    report: dict[str, Any] = {
        "points": 0,
        "tried": 0,
        "processes": 0,
        "killed": 0,
        "lost": 0,
        "duplicated": 0,
        "different_ends": 0,
        "labels": [],
    }
    report["failures"] = []
    empty(root)
    gc.freeze()  # what is there stays, and its pages are shared with the children
    for place, story in enumerate(stories):
        labels, quiet = count_points(story, root / f"quiet-{place}")
        report["points"] += len(labels)
        report["tried"] += sum(tried(number, story.name) for number in range(1, len(labels) + 1))
        report["processes"] += 1
        report["labels"] = sorted({*report["labels"], *labels})
        for number in filter(lambda number: control or tried(number, story.name), count(1)):
            for attempt in range(TRIES_MAX):
                result = crash_and_recover(story, root / f"{place}-{number}-{attempt}", number, control)
                if result["killed"]:
                    break
            ends = result["ends"]
            counted = compare(quiet, ends)
            different = not result["recovered"] or {**ends, "effects": None} != {**quiet, "effects": None}
            report["killed"] += result["killed"]
            report["lost"] += counted["lost"]
            report["duplicated"] += counted["duplicated"]
            report["different_ends"] += different
            if different or counted["lost"] or counted["duplicated"]:
                more = {what: [*(ends[what] - quiet[what])] for what in ends if what != "twice"}
                less = {what: [*(quiet[what] - ends[what])] for what in ends if what != "twice"}
                label = labels[min(number, len(labels)) - 1]
                report["failures"].append([story.name, number, label, result["recovered"], {"more": more, "less": less}])
            if not result["killed"] or (control and report["failures"]):
                break  # no life has so many points, or the control has failed as it must
    return report


if __name__ == "__main__":
    arguments = sys.argv[1:]
    control = arguments[arguments.index("--control") + 1] if "--control" in arguments else None
    named = [argument for argument in arguments if argument in STORIES]
    try:
        # Memory is enough of a disk here: a kill takes nothing from it that was written.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        with tempfile.TemporaryDirectory(prefix="pointsman-crash-", dir=memory) as folder:
            print(json.dumps(main(Path(folder), [STORIES[name] for name in named or STORIES], control)))
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None
