"""Begin each story of the repertoire on a file, kill its engine at random points, move the cases, killed too, and end the story on PostgreSQL.

Run as a script with the URL of a server, a seed, and a number of moves: it forks a child for each life and each move, so it has no threads itself. The twin of each story
stays on its file and is never killed; both must end alike. A fourth word is the control: a table that does not move.
"""

import asyncio
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import psycopg
import repertoire_world as world
from repertoire_stories import STORIES, Story
from repertoire_world import Forgetful, Life, Outside, compare, count_points, live

from pointsman import Engine
from pointsman.store import moving
from pointsman.store.postgres.connections import place_of
from pointsman.store.postgres.reader import open_reader
from pointsman.store.postgres.store import open_postgres
from pointsman.testing.clock import ManualClock
from pointsman.testing.crash import CrashAt, in_child

HANG_SECONDS = 60
MOVE_POINTS = 25  # of a move; the last ones are those around the commits
MOVABLE = [story for story in STORIES.values() if story.name != "transaction"]  # its author's table does not move


class Shifted:
    """A database whose clock has the time that passed in the story, too."""

    def __init__(self, store: Any, outside: Outside) -> None:
        self._store = store
        self._outside = outside

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def renew(self) -> float:
        return float(await self._store.renew()) + sum(map(float, self._outside.lines("time")))


def live_there(home: Path, url: str, story: Story, points: CrashAt | None = None, control: str | None = None) -> None:
    """A life on the database: the last one, if it has no points to be killed at."""
    points = points or CrashAt()

    async def main() -> None:
        outside = Outside(home, points)
        clock = ManualClock()
        store: Any = Shifted(await open_postgres(url, failpoints=points), outside)
        if control is not None:
            store = Forgetful(store, control)
        async with (
            asyncio.timeout(HANG_SECONDS),
            Engine.open(
                url, story.processes(outside), store=store, clock=clock, random=Random(1_000 + len(outside.lines("lives"))),
                failpoints=points, resources={"outside": outside}, grace_seconds=0.0,
            ) as engine,
        ):  # fmt: skip
            life = Life(engine, outside, clock)
            await story.told(life)
            await life.rest()

    with (home / "lives").open("a") as lives:
        lives.write("life\n")
    asyncio.run(main())


async def look_there(home: Path, url: str, story: Story) -> dict[str, Any]:
    """How everything ended, as `repertoire_world.look` says it of a file."""
    ends: dict[str, Any] = {}
    async with open_reader(url) as reader:
        cases = []
        for row in await reader.cases():
            state = {one.field: json.loads(one.text) for one in await reader.fields(row.id) if one.field not in story.ignores}
            key = "a child" if (row.key or "").startswith("child:") else row.key
            told = {"process": row.process, "status": row.status, "outcome": row.outcome, "reason": row.reason}
            cases.append({**told, "key": key, "correlation": row.correlation, "state": state})
        events = await reader.events(limit=100_000)
    ends["cases"] = Counter(json.dumps(row, sort_keys=True) for row in cases)
    place = place_of(url)
    with psycopg.connect(place.conninfo) as connection:
        query = f"SELECT process, name, status, body FROM {place.schema}.messages WHERE name NOT LIKE 'pointsman.%'"
        names = ("process", "name", "status", "body")
        rows = [dict(zip(names, row, strict=True)) for row in connection.execute(query.encode())]
        [(seats,)] = connection.execute("SELECT to_regclass('seats')::text")
        taken_seats = connection.execute("SELECT who FROM seats").fetchall() if seats else []
    ends["seats"] = Counter(json.dumps({"who": who}) for (who,) in taken_seats)
    ends["messages"] = Counter(json.dumps(row, sort_keys=True) for row in rows)
    taken = Counter(json.loads(event.facts)["message"] for event in events if event.kind == "message.received")
    ends["effects"] = Counter(line.split("\t")[0] for line in Outside(home, lambda _: None).lines("done"))
    return ends | {"twice": sum(times > 1 for times in taken.values())}


def crash_and_move(story: Story, home: Path, url: str, crash: CrashAt, move_number: int) -> dict[str, Any]:
    """Kill a life on the file and a move, move again, and live on there."""
    shutil.copytree(home.parent / "empty", home)
    file = home / "cases.db"

    def carry(crash: CrashAt) -> None:
        asyncio.run(moving.move(file, url, now=time.time(), tell=lambda *_: None, failpoints=crash))

    lived = in_child(lambda: live(home, story, crash, None))
    moves = [in_child(lambda: carry(CrashAt(move_number))), in_child(lambda: carry(CrashAt()))]
    ended = in_child(lambda: live_there(home, url, story))
    with closing(sqlite3.connect(file)) as connection:
        closed = [json.loads(mark)["finished"] for (mark,) in connection.execute("SELECT value FROM meta WHERE name = 'moved'")] == [True]
    return {"at": [crash.number, move_number], "codes": [lived, *moves, ended], "closed": closed}


def main(root: Path, server: str, seed: int, moves: int, control: str | None) -> dict[str, Any]:
    world.NOON = time.time()  # the database's clock goes on from there
    world.HANG_SECONDS = HANG_SECONDS
    world.empty(root)
    report: dict[str, Any] = {"moves": 0, "killed": 0, "lost": 0, "duplicated": 0, "failures": []}
    chance, stories = Random(seed), MOVABLE
    if control is not None:
        moving.TABLES = tuple(table for table in moving.TABLES if table != control)
        stories = [STORIES["compensation"]]  # killed when it has booked both; what it has to take back is in the ledger
    for place, story in enumerate(chance.sample(stories, min(moves, len(stories)))):
        labels, quiet = count_points(story, root / f"quiet-{place}")
        for number in range(-(-moves // len(stories))):
            home, schema = root / f"{place}-{number}", f"m_{uuid4().hex[:16]}"
            url = f"{server}?schema={schema}"
            crash = CrashAt(2, "world.took") if control else CrashAt(chance.randint(1, len(labels)))
            done = crash_and_move(story, home, url, crash, chance.randint(1, MOVE_POINTS))
            ends = asyncio.run(look_there(home, url, story)) if done["codes"][2:] == [0, 0] else None
            report["moves"] += 1
            report["killed"] += sum(code == -9 for code in done["codes"])
            counted = compare(quiet, ends) if ends else {"lost": 0, "duplicated": 0}
            report["lost"] += counted["lost"]
            report["duplicated"] += counted["duplicated"]
            if ends is None or not done["closed"] or sum(counted.values()) or {**ends, "effects": None} != {**quiet, "effects": None}:
                more = {what: [*(ends[what] - quiet[what])] for what in ("cases", "messages", "effects")} if ends else None
                report["failures"].append([story.name, done, more])
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute("SET client_min_messages = warning")
                connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())
    return report


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="pointsman-move-") as folder:
        server, seed, moves, *control = sys.argv[1:]
        print(json.dumps(main(Path(folder), server, int(seed), int(moves), next(iter(control), None))))
