"""What the disk and SQLite can do here, without any program around them."""

import itertools
import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.systems.trial import Figures, run
from benchmarks.workload import payload

PAGE = bytes(4_096)
ROWS = 100  # of one grouped commit


def limits(folder: Path, *, seconds: float) -> Figures:
    """Flushes a second of an append of 4 KiB; commits a second of one row and of a hundred, with `synchronous=FULL`."""
    with (folder / "append").open("wb", buffering=0) as file:

        def flush() -> None:
            file.write(PAGE)
            os.fdatasync(file.fileno())

        flushes = _rate(flush, seconds)
    connection = sqlite3.connect(folder / "rows.db", isolation_level=None)
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE row (id INTEGER PRIMARY KEY, value TEXT)")
    value = json.dumps(payload("limit", 1))
    commits = _rate(lambda: connection.execute("INSERT INTO row (value) VALUES (?)", (value,)), seconds)

    def grouped() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO row (value) VALUES (?)", [(value,)] * ROWS)
        connection.execute("COMMIT")

    rows = ROWS * _rate(grouped, seconds)
    connection.close()
    return {"flushes_per_s": flushes, "commits_per_s": commits, "grouped_rows_per_s": rows}


def _rate(once: Callable[[], object], seconds: float) -> float:
    begun = time.perf_counter()
    for times in itertools.count(1):
        once()
        if (wall := time.perf_counter() - begun) >= seconds:
            return times / wall
    raise AssertionError


if __name__ == "__main__":
    run({"limits": limits})
