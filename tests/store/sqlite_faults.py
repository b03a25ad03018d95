"""Let a disk fail at one operation of a real store after the other, and look at what was answered and at what is left."""

import asyncio
import random
import sqlite3
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlite_disk as codes
from sqlite_disk import Disk, Platters, on_disk
from sqlite_files import sentence
from sqlite_sessions import NOW, Files, fingerprint, lay_out, scratch, worked
from sqlite_work import Told, all_of, batch, complaints, errand

from pointsman.errors import PointsmanError, StoreUnwritable
from pointsman.store import sqlite_file
from pointsman.store.sqlite import SqliteStore, open_sqlite, take_over
from pointsman.store.sqlite_reader import open_reader
from tiers import tried

BATCHES = 2
WAL_PAGES = 30  # so that the log is moved into the file now and then, and stays in use between
PATIENCE_SECONDS = 120.0  # so that a test that hangs ends; nothing is measured


class Kind(StrEnum):
    """What is wrong with the disk."""

    FULL = "full disk"
    ERROR = "I/O error"
    SYNC = "failing sync"


CODES = {
    Kind.FULL: {"write": codes.FULL},
    Kind.ERROR: {
        "open": codes.CANTOPEN, "read": codes.IOERR_READ, "write": codes.IOERR_WRITE, "truncate": codes.IOERR_TRUNCATE, "size": codes.IOERR_FSTAT,
        "lock": codes.IOERR_LOCK, "map": codes.IOERR_SHMMAP, "delete": codes.IOERR_DELETE,
    },
    Kind.SYNC: {"sync": codes.IOERR_FSYNC},
}  # fmt: skip


class Deaf:
    """A writer's connection that does not hear of a commit that failed: the control, whose losses must be seen."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *arguments: Any) -> Any:
        if statement != "COMMIT":
            return self._connection.execute(statement, *arguments)
        with suppress(sqlite3.Error):
            return self._connection.execute(statement)


class Failing:
    """The fault: the `number`-th operation of its kind fails (from 1), and with `stays` each one after it; 0 only counts."""

    def __init__(self, kind: Kind, number: int, *, stays: bool) -> None:
        self.codes = CODES[kind]
        self.number = number
        self.stays = stays
        self.seen = 0

    def __call__(self, what: str, file: str) -> int:
        """The result code of this operation."""
        if what not in self.codes:
            return 0
        self.seen += 1
        fails = self.number and (self.seen == self.number or (self.stays and self.seen > self.number))
        return self.codes[what] if fails else 0


async def some_work(path: Path, told: Told, chance: random.Random, batches: int, *, deaf: bool = False) -> SqliteStore | None:
    """Work as long as it goes, and past it: whoever is told of an error may come again. None where the store does not open."""
    try:
        store = await open_sqlite(path, now=1.0 + told.count)
    except Exception as error:
        told.errors.append(error)
        return None
    if deaf:
        store.core.connection = Deaf(store.core.connection)
    for _ in range(batches):
        await errand(store, told, chance)
        await all_of(await told.hear(batch(store, told, chance)) or [])
    return store


def cached(folder: Path) -> Files:
    """The files of an engine as the system shows them: what the next one finds if this one dies."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith(("-shm", ".lock"))}


class Left:
    """What is wrong with files that were left. The same files after the same answers are not looked at again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[tuple[bytes, str], list[str]] = {}

    async def __call__(self, files: Files, told: Told) -> list[str]:
        key = (fingerprint(files), repr({name: value for name, value in vars(told).items() if name != "errors"}))
        if key not in self._seen:
            self._seen[key] = await left_of(self._folder, files, told)
        return self._seen[key]


async def left_of(folder: Path, files: Files, told: Told) -> list[str]:
    """What is wrong with these files, opened after all is over."""
    path = lay_out(folder, files)
    try:
        writer, *_ = take_over(path, NOW)
    except PointsmanError as error:
        return [f"it does not open: {error}"]
    try:
        sound = writer.execute("PRAGMA integrity_check").fetchone()[0]
        with open_reader(path) as reader:
            return await complaints(reader, told) if sound == "ok" else [sound]
    finally:
        writer.close()


class Place:
    """Two folders: one that a store works in, and one to look at what is left of it."""

    def __init__(self, work: Path, look: Path, files: Files, told: Told, *, deaf: bool) -> None:
        self.work, self.left, self.files, self.told, self.deaf = work, Left(look), files, told, deaf

    async def suffer(self, fault: Failing, seed: int, *, dies: bool) -> list[str]:
        """Work on a disk with this fault, and after its repair; the answer is what is wrong with what was told and what is left.

        The engine that saw the fault closes, or it `dies`: then the next one finds the files as the system's cache has them.
        """
        disk = Disk(fault)
        chance = random.Random(seed)
        told = self.told.copy()
        path = lay_out(self.work, self.files)

        with on_disk(disk, seed):
            store = await some_work(path, told, chance, BATCHES, deaf=self.deaf)
            at_once, cut = told.copy(), len(disk.record)
            files = cached(self.work)
            if store is not None:
                await store.close()
            if dies:
                del disk.record[cut:]
                lay_out(self.work, files)
            found = [f"told {error!r}" for error in told.errors if not in_words(error, path)]
            disk.fault = None
            told.errors.clear()
            store = await some_work(path, told, chance, 1)
            found += [f"after the repair: told {error!r}" for error in told.errors]
            end = len(disk.record)
            if store is not None:
                found += [f"after the repair: {wrong}" for wrong in await complaints(store, told)]
                await store.close()
        platters = Platters(self.files)
        for length, entry in enumerate(disk.record, start=1):
            platters.take(entry)
            if length == cut:
                worst = [platters.nothing(), platters.something(chance)] if at_once.acknowledged else [platters.nothing()]
                for image in worst:
                    found += [f"power lost at the fault: {wrong}" for wrong in await self.left(image, at_once)]
            if length == end:
                found += [f"power lost after the repair: {wrong}" for wrong in await self.left(platters.nothing(), told)]
        return found


def in_words(error: BaseException, path: Path) -> bool:
    """Whether an error says to whoever operates the engine what is wrong, and what mends it."""
    return isinstance(error, StoreUnwritable) and ";" in sentence(error, path)


def suffered(kind: Kind, *, stays: bool, seed: int, deaf: bool = False) -> tuple[int, dict[str, str]]:
    """Let the disk fail at one operation after the other; the number of places, and what was wrong at which."""
    pages, sqlite_file.WAL_PAGES_MAX = sqlite_file.WAL_PAGES_MAX, WAL_PAGES
    try:
        with scratch() as work, scratch() as look:
            told = Told()
            session = worked(work, {}, told, seed, 2)
            log = Platters({})
            for entry in session.record[: session.marks[-1].begins]:
                log.take(entry)
            places = {"a file with a log": Place(work, look, log.everything(), told, deaf=deaf)}
            if not stays:  # a new file on a disk that stays bad does not come to be
                places["a new file"] = Place(work, look, {}, Told(), deaf=deaf)
            return asyncio.run(_suffered(places, kind, stays, seed))
    finally:
        sqlite_file.WAL_PAGES_MAX = pages


async def _suffered(places: dict[str, Place], kind: Kind, stays: bool, seed: int) -> tuple[int, dict[str, str]]:
    wrong: dict[str, str] = {}
    count = 0
    for name, place in places.items():
        counting = Failing(kind, 0, stays=stays)
        await place.suffer(counting, seed, dies=False)
        for number in range(1, counting.seen + 1):
            for dies in (False, True) if kind is Kind.SYNC else (number % 2 == 0,):
                if not tried(number, name, kind, stays, dies):
                    continue
                count += 1
                fault = Failing(kind, number, stays=stays)
                for found in await asyncio.wait_for(place.suffer(fault, seed, dies=dies), PATIENCE_SECONDS):
                    wrong.setdefault(f"{name}, {kind} {number}{', then it dies' * dies}", found)
    return count, wrong
