"""Let a real store work on a recorded disk, pull the plug at every moment of it, and look at what is left."""

import asyncio
import hashlib
import random
import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from sqlite_disk import Disk, Entry, Platters, on_disk
from sqlite_work import Told, all_of, batch, complaints, errand

from pointsman.errors import PointsmanError
from pointsman.kernel.limits import state_of
from pointsman.kernel.rows import EventWrite
from pointsman.store import sqlite_core, sqlite_file
from pointsman.store.journal import unpacked
from pointsman.store.sqlite import SqliteStore, open_sqlite, take_over

NOW = 5e6  # when what was left is opened again
WAL_PAGES = 12  # small, so that moving the log into the file, and starting the log again, come many times
CLOCK_EVENTS = 10  # few, so that the clock is saved in each session
NAME = "cases.db"
HANG_SECONDS = 600.0  # far beyond any wait here

SESSIONS, BATCHES = 4, 8  # of a chain, and of a session: short ones, because a file that grows makes each image dearer
EACH = 4  # images a moment beside the two extremes

Files = dict[str, bytes]
Found = dict[str, list[Any]]
"""All rows of all tables."""


class Mark(NamedTuple):
    """From this length of the record on, this content stands. It is None before the first open has ended: no case, no row."""

    begins: int
    found: Found | None


class Session(NamedTuple):
    """What one engine did: the files that it found, all that it did to them, and what stood when."""

    files: Files
    record: list[Entry]
    marks: list[Mark]


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory, where the system has one: what is lost and kept there is decided by us."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def lay_out(folder: Path, files: Files) -> Path:
    """Make the folder hold these files and no others."""
    for old in folder.iterdir():
        old.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / NAME


def reopened(path: Path) -> Found:
    """Open a file as an engine does, and read everything in it. Raises what a user would see, or AssertionError if it is damaged."""
    connection, *_ = take_over(path, NOW)
    try:
        sound = connection.execute("PRAGMA integrity_check").fetchone()[0]
        assert sound == "ok", sound
        return everything(connection)
    finally:
        connection.close()


def everything(connection: sqlite3.Connection) -> Found:
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'").fetchall()
    found = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for (table,) in tables}
    found["meta"] = [row for row in found["meta"] if row[0] != "epoch"]  # each open raises it
    return found


def stood(folder: Path, files: Files) -> Found | None:
    """What stands in these files; None where they hold no database yet: each open makes another one, with its own incarnation."""
    first, second = (reopened(lay_out(folder, files)) for _ in range(2))
    return first if first == second else None


class Recorder:
    """The points of a store: notes what stands after each commit, and holds the writer while a batch gathers."""

    def __init__(self, disk: Disk, noted: str) -> None:
        self.disk = disk
        self.marks: list[tuple[int, bytes]] = []
        self.noted = noted
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()
        self.store: SqliteStore | None = None

    def __call__(self, label: str) -> None:
        if label == "store.begin":
            self.begun.set()
            self.go.wait()
        if label == self.noted and self.store is not None:
            self.note()

    def note(self) -> None:
        assert self.store is not None
        self.marks.append((len(self.disk.record), self.store.core.connection.serialize()))

    async def together(self, first: Any, rest: Any) -> None:
        """Have `first` committed alone, and `rest` in the one batch behind it."""
        self.begun.clear()
        self.go.clear()
        alone = asyncio.ensure_future(first)
        await asyncio.to_thread(self.begun.wait, HANG_SECONDS)
        behind = asyncio.ensure_future(rest)
        for _ in range(4):  # the steps of the event loop until each task has handed in its own
            await asyncio.sleep(0)
        self.go.set()
        await alone
        await behind


class Control(StrEnum):
    """What is wrong on purpose, so that the tier can show that it would see it."""

    NOTHING = "nothing"
    NORMAL = "synchronous=NORMAL"
    EARLY = "answered before the commit"


def worked(folder: Path, files: Files, told: Told, seed: int, batches: int, control: Control = Control.NOTHING) -> Session:
    """One session of an engine on these files, from the open to the close."""
    chance = random.Random(seed)
    disk = Disk()
    recorder = Recorder(disk, noted="store.commit" if control is Control.EARLY else "store.committed")
    before = stood(folder, files)
    path = lay_out(folder, files)

    async def main() -> None:
        store = await open_sqlite(path, now=1.0 + told.count, failpoints=recorder)
        try:
            assert store.clock_high_water >= max((transition.at for transition in told.acknowledged.values()), default=0.0)
            if control is Control.NORMAL:
                store.core.connection.execute("PRAGMA synchronous = NORMAL")
            recorder.store = store
            recorder.note()
            for _ in range(batches):
                deeds = await batch(store, told, chance)
                await recorder.together(errand(store, told, chance), all_of(deeds))
            assert not told.errors, told.errors
            found = await complaints(store, told) if batches else []
            assert not found, found
        finally:
            await store.close()

    usual = sqlite_file.WAL_PAGES_MAX, sqlite_core.CLOCK_EVENTS
    sqlite_file.WAL_PAGES_MAX, sqlite_core.CLOCK_EVENTS = WAL_PAGES, CLOCK_EVENTS
    try:
        with on_disk(disk, seed):
            asyncio.run(main())
    finally:
        sqlite_file.WAL_PAGES_MAX, sqlite_core.CLOCK_EVENTS = usual
    marks = [Mark(begins, reopened(lay_out(folder, {NAME: content}))) for begins, content in recorder.marks]
    return Session(files, disk.record, [Mark(0, before), *marks])


def images(session: Session, chance: random.Random, each: int) -> Iterator[tuple[int, Files]]:
    """What a power failure may leave, at every moment of a session: `each` images a moment, and the two ends.

    Until a new file has its tables, there is one a moment: each image of that time makes all tables afresh.
    """
    platters = Platters(session.files)
    ready = 0 if session.files else session.marks[1].begins
    for length, entry in enumerate(session.record, start=1):
        platters.take(entry)
        if entry.what in {"sync", "delete"}:
            yield length, platters.nothing()
        yield length, platters.everything()
        for _ in range(each if length >= ready else 1):
            yield length, platters.something(chance)


def at_the_end(session: Session) -> Files:
    """What is there after the close of a session, when no power fails."""
    platters = Platters(session.files)
    for entry in session.record:
        platters.take(entry)
    return platters.everything()


class Opened:
    """What each image holds, or why it cannot be read. One with the same bytes as an earlier one is not opened again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[bytes, Found | str] = {}

    def __call__(self, files: Files) -> Found | str:
        image = fingerprint(files)
        if image not in self._seen:
            self._seen[image] = self._open(files)
        return self._seen[image]

    def _open(self, files: Files) -> Found | str:
        try:
            return reopened(lay_out(self._folder, files))
        except AssertionError:
            return "damaged"
        except PointsmanError as error:
            return f"unreadable: {error}"


def fingerprint(files: Files) -> bytes:
    """What tells these files from all others."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name} {len(content)} ".encode() + content)
    return digest.digest()


def verdict(session: Session, length: int, found: Found | str) -> str:
    """What is wrong with an image after a record of this length, in a word; "" if all is well."""
    if isinstance(found, str):
        return found
    last = max(index for index, mark in enumerate(session.marks) if mark.begins <= length)
    if any(_same(mark.found, found) for mark in session.marks[last : last + 2]):
        return ""
    return "lost" if any(_same(mark.found, found) for mark in session.marks[:last]) else "torn"


def _same(should: Found | None, found: Found) -> bool:
    if should is None:
        return not any(rows for table, rows in found.items() if table != "meta")
    return should == found


def pulled(seed: int, least: int, control: Control = Control.NOTHING) -> Counter[str]:
    """Pull the plug until so many images have been looked at; the answer counts them, and what was wrong with them.

    A chain of sessions begins without a file; each further session begins with what the last one left, after its close or
    after a power failure in it.
    """
    chance = random.Random(seed)
    count: Counter[str] = Counter()
    with scratch() as folder:
        while count["images"] < least:
            files: Files = {}
            told = Told()
            for _ in range(SESSIONS):
                session = worked(folder, files, told, chance.getrandbits(32), BATCHES, control)
                count["points"] += len(session.record)
                left, opened = [at_the_end(session)], Opened(folder)
                for length, image in images(session, chance, EACH):
                    if control is not Control.NOTHING and length < session.marks[1].begins:
                        continue  # what is wrong on purpose begins after the open
                    wrong = verdict(session, length, opened(image))
                    count += Counter(["images", "violations", wrong] if wrong else ["images"])
                    if not wrong and chance.random() < 0.005:
                        left.append(image)
                    if count["images"] == least:
                        return count
                files = chance.choice(left)
                told = went_on(told, reopened(lay_out(folder, files)))
    return count


def went_on(told: Told, found: Found) -> Told:
    """What was asked and answered, as those see it who find this content: the rest was never answered."""
    revisions = {row[0]: row[5] for row in found["cases"]}
    kept = {row[0] for row in found["blobs"]}
    seen = told.copy()
    seen.acknowledged = {place: one for place, one in told.acknowledged.items() if place[1] <= revisions.get(place[0], 0)}
    seen.kept = [blob for blob in told.kept if blob.sha256 in kept]
    seen.posted &= {row[7] for row in found["messages"]}
    common = {number: EventWrite(*event) for number, *event in found["common_events"]}
    seen.appended &= {event.facts for row in found["journal"] if row[4] is not None for event in unpacked(row[4], common.__getitem__)}
    checkpoints = {row[1] for row in found["checkpoints"]}
    seen.checkpoints = {id_: value for id_, value in told.checkpoints.items() if id_ in checkpoints}
    seen.changed = max((state_of(row[1]).changes for row in found["limits"]), default=0)
    return seen
