"""The index of conversations: a file that can be spared."""

import sqlite3
from pathlib import Path

import pytest

from pointsman_desk.errors import FileUnusable
from pointsman_desk.mail import threads
from pointsman_desk.mail.threads import Threads


def test_a_file_that_is_no_index_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "threads.db"
    file.write_text("something else, and long enough to be read as a page" * 20)

    with pytest.raises(FileUnusable, match=r"threads\.db cannot be opened \(file is not a database\); delete it; "):
        Threads(file)


def test_the_counters_of_a_flood_take_a_bounded_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "ARRIVALS_MAX", 9)
    index = Threads(tmp_path / "threads.db")

    for number in range(50):
        index.arrived(f"{number}@post.example", "one", 0.0, -3_600.0)  # they never write again
    came = [len(index.arrived("flood@post.example", str(number), 4_000.0 + number, 400.0)) for number in range(50)]

    index.close()
    with sqlite3.connect(tmp_path / "threads.db") as kept:
        rows = kept.execute("SELECT count(*) FROM arrivals").fetchone()[0]
    assert came[-1] == rows == 10
