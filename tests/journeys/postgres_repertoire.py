"""Kill the engine at some labelled points of each story of the repertoire on PostgreSQL, and look at what the world got.

Run as a script with the URL of a server, a seed, and a number of kills for each story: it forks a child for each life, so it has no threads
itself. The twin of each story is never killed, on a file; both must end alike. With a fourth word, one thing is left out of the store, and
the only story is the one that shows it; its lives are killed when they have taken in a message and have not answered.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import psycopg
import repertoire_world as world
from moving_repertoire import HANG_SECONDS, live_there, look_there
from repertoire_stories import STORIES, Story
from repertoire_world import compare, count_points

from pointsman.store.postgres.connections import place_of
from pointsman.testing.crash import CrashAt, in_child

CONTROLS = {"no identity": "early and append"}


@contextmanager
def database(server: str) -> Iterator[str]:
    """A URL with a schema of its own, and one for the tables of an author."""
    name = f"r_{uuid4().hex[:16]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}_desk".encode())
        yield f"{server}?schema={name}&options=-csearch_path%3D{name}_desk"
        connection.execute("SET client_min_messages = warning")
        connection.execute(f"DROP SCHEMA IF EXISTS {name}, {name}_desk CASCADE".encode())


def end_leases(url: str) -> None:
    """Let the time pass that the cases of a dead engine wait for another one."""
    place = place_of(url)
    with psycopg.connect(place.conninfo) as connection:
        connection.execute(f"UPDATE {place.schema}.engines SET lease_until = '-infinity'".encode())


def count_points_there(server: str, story: Story, home: Path) -> list[str]:
    home.mkdir()

    def work(url: str) -> None:
        points = CrashAt()
        live_there(home, url, story, points)
        (home / "labels.json").write_text(json.dumps(points.labels))

    with database(server) as url:
        assert in_child(lambda: work(url)) == 0, f"the quiet life of {story.name!r} failed"
    labels: list[str] = json.loads((home / "labels.json").read_text())
    return labels


def crash_and_recover(server: str, story: Story, home: Path, crash: CrashAt, control: str | None) -> dict[str, Any]:
    home.mkdir()
    with database(server) as url:
        first = in_child(lambda: live_there(home, url, story, crash, control))
        if first:
            end_leases(url)
        recovered = not first or in_child(lambda: live_there(home, url, story, CrashAt(), control)) == 0
        return {"killed": first == -9, "recovered": recovered, "ends": asyncio.run(look_there(home, url, story)) if recovered else None}


def main(root: Path, server: str, seed: int, kills: int, control: str | None) -> dict[str, Any]:
    world.NOON = time.time()  # the database's clock goes on from there
    world.HANG_SECONDS = HANG_SECONDS
    world.empty(root)
    chance = Random(seed)
    report: dict[str, Any] = {"stories": 0, "points": 0, "killed": 0, "lost": 0, "duplicated": 0, "failures": []}
    for place, story in enumerate([STORIES[CONTROLS[control]]] if control else STORIES.values()):
        _, quiet = count_points(story, root / f"quiet-{place}")
        labels = count_points_there(server, story, root / f"labels-{place}")
        points = range(1, len(labels) + 1)
        chosen = range(1, kills + 1) if control else chance.sample(points, min(kills, len(points)))
        report["stories"] += 1
        report["points"] += len(labels)
        for number in chosen:
            crash = CrashAt(number, "world.answered" if control else None)
            result = crash_and_recover(server, story, root / f"{place}-{number}", crash, control)
            ends = result["ends"]
            counted = compare(quiet, ends) if ends else {"lost": 0, "duplicated": 0}
            report["killed"] += result["killed"]
            report["lost"] += counted["lost"]
            report["duplicated"] += counted["duplicated"]
            if ends is None or sum(counted.values()) or {**ends, "effects": None} != {**quiet, "effects": None}:
                more = {what: [*(ends[what] - quiet[what])] for what in ends if what != "twice"} if ends else None
                report["failures"].append([story.name, number, crash.label or labels[number - 1], more])
    return report


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="pointsman-crash-") as folder:
        server, seed, kills, *control = sys.argv[1:]
        print(json.dumps(main(Path(folder), server, int(seed), int(kills), next(iter(control), None))))
