"""Mails from folders: all of them, in order, and nothing touched."""

import os
from pathlib import Path

import pytest

from pointsman_desk.errors import MailboxMissing
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.maildir import FILE_MAX_BYTES, open_folder


def maildir(path: Path) -> Path:
    for room in ("tmp", "new", "cur"):
        (path / room).mkdir(parents=True)
    return path


def test_a_maildir_gives_new_and_seen_mails_in_the_order_of_arrival(tmp_path: Path) -> None:
    box = maildir(tmp_path / "box")
    (box / "new" / "1003.c").write_bytes(b"third")
    (box / "cur" / "1001.a:2,S").write_bytes(b"first")
    (box / "new" / "1002.b").write_bytes(b"second")
    (box / "tmp" / "1000.t").write_bytes(b"half a mail")

    found = list(open_folder(box).mails())

    assert [mail.raw for mail in found] == [b"first", b"second", b"third"]
    assert found[0] == Found("cur/1001.a:2,S", b"first", None)


def test_a_mail_keeps_its_place_when_a_reader_has_seen_it(tmp_path: Path) -> None:
    box = maildir(tmp_path / "box")
    for name in ("1", "2", "3"):
        (box / "new" / name).write_bytes(name.encode())
    source = open_folder(box)
    before = [mail.raw for mail in source.mails()]

    (box / "new" / "2").rename(box / "cur" / "2:2,S")

    assert [mail.raw for mail in source.mails()] == before


def test_a_folder_gives_its_eml_files_and_no_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.eml", "a.EML", ".hidden.eml", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "folder.eml").mkdir()

    found = list(open_folder(tmp_path).mails())

    assert [mail.name for mail in found] == ["a.EML", "b.eml"]


def test_an_empty_folder_and_an_empty_maildir_give_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    box = maildir(tmp_path / "box")

    found = [*open_folder(tmp_path / "folder").mails(), *open_folder(box).mails()]

    assert found == []


def test_what_is_no_mailbox_is_refused_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file.eml").write_bytes(b"x")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"x")

    with pytest.raises(MailboxMissing, match=r"does not exist; create the folder"):
        open_folder(tmp_path / "gone")
    with pytest.raises(MailboxMissing, match=r"is a file; give the folder"):
        open_folder(tmp_path / "file.eml")
    with pytest.raises(MailboxMissing, match=r"photos is no mailbox.*give another path"):
        open_folder(tmp_path / "photos")


def test_a_mail_that_cannot_be_read_is_told_of_and_the_next_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.eml", "b.eml"):
        (tmp_path / name).write_bytes(b"x")
    read_bytes = Path.read_bytes

    def refuse_one(file: Path) -> bytes:
        if file.name == "a.eml":
            raise PermissionError(13, "Permission denied")
        return read_bytes(file)

    monkeypatch.setattr(Path, "read_bytes", refuse_one)  # root may read everything, so a mode of 000 is no test
    first, second = open_folder(tmp_path).mails()

    assert first.raw is None
    assert first.problem == f"The mail {tmp_path / 'a.eml'} cannot be read (Permission denied); make the file readable."
    assert (second.raw, second.problem) == (b"x", None)


def test_a_file_too_big_for_a_mail_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "big.eml").write_bytes(b"")
    os.truncate(tmp_path / "big.eml", FILE_MAX_BYTES + 1)

    (found,) = open_folder(tmp_path).mails()

    assert found.raw is None
    assert "more than a mail can have" in (found.problem or "")


def test_reading_moves_and_deletes_nothing(tmp_path: Path) -> None:
    box = maildir(tmp_path / "box")
    (box / "new" / "1").write_bytes(b"x")
    source = open_folder(box)

    first, second = list(source.mails()), list(source.mails())

    assert first == second
    assert (box / "new" / "1").read_bytes() == b"x"


def test_a_mailbox_that_goes_away_is_told_of(tmp_path: Path) -> None:
    source = open_folder(tmp_path)
    tmp_path.rmdir()

    with pytest.raises(MailboxMissing, match="cannot be listed"):
        list(source.mails())
