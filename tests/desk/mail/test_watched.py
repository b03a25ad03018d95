"""A watched mailbox: every mail is taken in once, none is lost between two looks, and an idle one is not read."""

import os
from pathlib import Path

import pytest

from pointsman_desk.errors import MailboxMissing
from pointsman_desk.mail.sources import watched
from pointsman_desk.mail.sources.watched import RACY_SECONDS, SETTLE_SECONDS, SWEEP_SECONDS, Watched

NOW = 1_700_000_000.0


class Time:
    """The time of a test, which a file gets when it is written."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now

    def write(self, file: Path, text: str) -> None:
        file.write_text(text, encoding="utf-8")
        for place in (file, file.parent):
            os.utime(place, (self.now, self.now))


def taken(box: Watched) -> list[bytes | None]:
    if not box.changed():
        return []
    found = [found.raw for found in box.mails()]
    box.taken()
    return found


@pytest.fixture(name="time")
def _time() -> Time:
    return Time()


def maildir(folder: Path) -> Path:
    for name in ("new", "cur", "tmp"):
        (folder / name).mkdir()
    return folder


def test_a_mail_is_taken_in_once_also_when_it_is_moved_and_gets_flags(tmp_path: Path, time: Time) -> None:
    folder = maildir(tmp_path)
    box = Watched(folder, time)
    time.write(folder / "new" / "1.a", "one")
    first = taken(box)
    (folder / "new" / "1.a").rename(folder / "cur" / "1.a:2,S")
    time.now += RACY_SECONDS
    moved = taken(box)
    time.write(folder / "new" / "2.b", "two")

    assert (first, moved, taken(box)) == ([b"one"], [], [b"two"])


def test_a_mail_that_comes_while_the_folder_is_read_is_found_even_if_the_folders_time_stands_still(tmp_path: Path, time: Time) -> None:
    folder = maildir(tmp_path)
    time.write(folder / "new" / "1.a", "one")
    box = Watched(folder, time)
    reading = box.mails()
    first = next(reading).raw
    time.write(folder / "new" / "2.b", "two")  # behind the listing, and at the same time of the clock
    rest = [found.raw for found in reading]
    box.taken()

    assert (first, rest, taken(box)) == (b"one", [], [b"two"])


def test_a_mail_that_was_not_taken_in_comes_again(tmp_path: Path, time: Time) -> None:
    folder = maildir(tmp_path)
    time.write(folder / "new" / "1.a", "one")
    box = Watched(folder, time)
    time.now += RACY_SECONDS
    assert [found.raw for found in box.mails()] == [b"one"]  # and taking it in has failed

    assert taken(box) == [b"one"]


@pytest.mark.parametrize("ahead", [0.0, 86_400.0], ids=["same clock", "the file system's clock is a day ahead"])
def test_a_file_that_is_still_written_is_left_until_it_rests(tmp_path: Path, time: Time, ahead: float) -> None:
    box = Watched(tmp_path, time)
    found = []
    for text in ("Subject: a", "Subject: a\n\nbod", "Subject: a\n\nbody"):
        time.now += ahead
        time.write(tmp_path / "a.eml", text)
        time.now -= ahead
        found += taken(box)
        time.now += SETTLE_SECONDS / 2
    found += taken(box)
    time.now += SETTLE_SECONDS

    assert (found, taken(box)) == ([], [b"Subject: a\n\nbody"])


def test_what_is_appended_to_an_mbox_is_taken_in_and_nothing_twice(tmp_path: Path, time: Time) -> None:
    file, first = tmp_path / "box", "From a@b.example Mon Jan  1 10:00:00 2024\nSubject: a\n\none\n\n"
    time.write(file, first)
    box = Watched(file, time)
    time.now += SETTLE_SECONDS
    before = taken(box)
    time.write(file, first + first.replace("one", "two"))
    time.now += SETTLE_SECONDS
    after = taken(box)
    time.write(file, first.replace("one", "three"))  # a mail program has deleted both
    time.now += SETTLE_SECONDS

    assert [len(before), len(after)] == [1, 1]
    assert [raw.rpartition(b"\n\n")[2].strip() for raw in [*before, *after, *taken(box)] if raw] == [b"one", b"two", b"three"]


def test_an_idle_folder_is_not_read(tmp_path: Path, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, reads = maildir(tmp_path), []
    time.write(folder / "new" / "1.a", "one")
    opening = watched.open_folder
    monkeypatch.setattr(watched, "open_folder", lambda path: reads.append(path) or opening(path))
    box = Watched(folder, time)
    taken(box)
    time.now += RACY_SECONDS
    taken(box)
    until_it_rests = len(reads)

    for _ in range(1_000):
        time.now += 0.1
        taken(box)
    idle = len(reads)
    time.now += SWEEP_SECONDS
    taken(box)

    assert (until_it_rests, idle, len(reads)) == (2, 2, 3)


def test_a_folder_that_has_gone_is_missing_until_it_is_back(tmp_path: Path, time: Time) -> None:
    folder = tmp_path / "box"
    maildir_of = folder
    maildir_of.mkdir()
    maildir(folder)
    box = Watched(folder, time)
    time.write(folder / "new" / "1.a", "one")
    assert taken(box) == [b"one"]
    folder.rename(tmp_path / "away")
    with pytest.raises(MailboxMissing):
        taken(box)
    (tmp_path / "away").rename(folder)

    assert taken(box) == []
