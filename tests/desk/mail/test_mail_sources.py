"""Mails from folders: all of them, in order, and nothing touched."""

import io
import os
from pathlib import Path

import pytest

from pointsman_desk.errors import MailboxMissing
from pointsman_desk.mail.sources import mbox
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.maildir import FILE_MAX_BYTES, open_folder
from pointsman_desk.mail.sources.mbox import MboxSource
from pointsman_desk.mail.sources.places import mails_at


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
    with pytest.raises(MailboxMissing, match=r"photos is not a mailbox.*give another path"):
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
    assert "more than a mail may have" in (found.problem or "")


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


MBOX = (
    b"From jane@a.example Mon Nov  2 10:00:00 2026\nSubject: one\n\nHello\n>From here on\n>>From there\n\n"
    b"From the shop I want nothing.\nFrom Monday, 2 Nov 10:00 on\n\n"
    b"From - Tue, 3 Nov 2026 10:00:00 +0100\nSubject: two\nContent-Length: 9999\n\nBye\n\n"
    b"From MAILER-DAEMON Wed Nov  4 10:00 2026\r\nSubject: three\r\n\r\nend"
)


def at(path: Path, stdin: bytes = b"") -> list[Found]:
    return list(mails_at([str(path)], io.BytesIO(stdin)))


def test_an_mbox_is_cut_where_mails_begin_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "box").write_bytes(MBOX)

    found = list(MboxSource(tmp_path / "box").mails())

    assert [mail.name for mail in found] == ["box#1", "box#2", "box#3"]
    assert [mail.raw for mail in found] == [
        b"Subject: one\n\nHello\nFrom here on\n>From there\n\nFrom the shop I want nothing.\nFrom Monday, 2 Nov 10:00 on\n",
        b"Subject: two\nContent-Length: 9999\n\nBye\n",
        b"Subject: three\r\n\r\nend",
    ]


def test_a_mail_too_big_for_one_is_told_of_and_the_next_of_its_mbox_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "box").write_bytes(MBOX.replace(b"Bye", b"Bye" * 200))
    monkeypatch.setattr(mbox, "FILE_MAX_BYTES", 400)

    found = list(MboxSource(tmp_path / "box").mails())

    assert [mail.raw is None for mail in found] == [False, True, False]
    assert "box#2 has 637 bytes, more than a mail may have" in (found[1].problem or "")


def test_an_mbox_that_goes_away_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(MailboxMissing, match="cannot be read"):
        list(MboxSource(tmp_path / "gone").mails())


def test_a_file_is_one_mail_or_an_mbox(tmp_path: Path) -> None:
    (tmp_path / "one.eml").write_bytes(MBOX)
    (tmp_path / "box").write_bytes(MBOX)
    (tmp_path / "1").write_bytes(b"Subject: x\n\nhello")

    found = [at(tmp_path / name) for name in ("one.eml", "box", "1")]

    assert [len(mails) for mails in found] == [1, 3, 1]
    assert found[0] == [Found("one.eml", MBOX)]


def test_below_a_folder_everything_counts_that_begins_as_a_mail_does(tmp_path: Path) -> None:
    box = maildir(tmp_path / "a" / "box")
    (box / "new" / "1").write_bytes(b"Received: by x\nSubject: x\n\nhello")
    (box / "tmp" / "2").write_bytes(b"Subject: half a mail")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "all").write_bytes(MBOX)
    (tmp_path / "b" / "empty.EML").write_bytes(b"")
    (tmp_path / "b" / "macintosh").write_bytes(b"Subject: x\r\rhello")
    (tmp_path / "b" / "readme.md").write_bytes(b"# Mails\n\nSubject: none")
    (tmp_path / "b" / "told.json").write_bytes(b'{"Subject": "x"}\nSubject: x\n')
    (tmp_path / "b" / ".hidden.eml").write_bytes(b"Subject: x\n\n")
    (tmp_path / "c").symlink_to(tmp_path)

    found = at(tmp_path)

    assert [mail.name for mail in found] == ["a/box/new/1", "b/all#1", "b/all#2", "b/all#3", "b/empty.EML", "b/macintosh"]


def test_standard_input_is_one_mail_or_an_mbox() -> None:
    one, several, nothing = (at(Path("-"), stdin) for stdin in (b"Subject: x\n\nFrom me", MBOX, b""))

    assert one == [Found("-", b"Subject: x\n\nFrom me")]
    assert [mail.name for mail in several] == ["-#1", "-#2", "-#3"]
    assert nothing == [Found("-", None, "Standard input is empty; pipe a mail or an mbox into it.")]


def test_a_path_without_mails_is_refused_before_the_first_is_read(tmp_path: Path) -> None:
    (tmp_path / "one.eml").write_bytes(b"x")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"x")

    with pytest.raises(MailboxMissing, match="gone does not exist"):
        mails_at([str(tmp_path / "one.eml"), str(tmp_path / "gone")], io.BytesIO())
    with pytest.raises(MailboxMissing, match="photos contains no mails"):
        mails_at([str(tmp_path / "photos")], io.BytesIO())


@pytest.mark.parametrize("room", ["box/new", "box/deeper", "box"])
def test_a_link_is_not_followed_out_of_the_mailbox(tmp_path: Path, room: str) -> None:
    box = maildir(tmp_path / "box") if room == "box/new" else tmp_path / "box"
    (tmp_path / room).mkdir(parents=True, exist_ok=True)
    secret = tmp_path / "secret.eml"
    secret.write_bytes(b"Subject: not for the desk\n\nsecret")
    (tmp_path / room / "1.eml").write_bytes(b"Subject: a mail\n\n")
    (tmp_path / room / "2.eml").symlink_to(secret)
    (tmp_path / room / "3.eml").symlink_to("1.eml")

    found = list(mails_at([str(box)], io.BytesIO()))
    opened = list(open_folder(box).mails()) if room != "box/deeper" else found

    assert [mail.raw for mail in found if mail.raw is not None] == [b"Subject: a mail\n\n"] * 2
    assert not any(mail.raw and b"secret" in mail.raw for mail in opened)
    assert room != "box/new" or "outside the mailbox" in (opened[1].problem or "")
