"""`pointsman-desk ingest`: mails from anywhere, read only or taken in."""

import json
import subprocess
from pathlib import Path

import interpreter

MAIL = b"From: jane@customer.example\nDate: Mon, 2 Nov 2026 10:00:00 +0100\nMessage-ID: <%d@customer.example>\nSubject: Hours\n\nWhen do you open?\n"


def ingest(place: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    return interpreter.run("-m", "pointsman_desk.cli.main", "ingest", *arguments, given=stdin, cwd=place)


def test_a_dry_run_ends_with_one_line_of_json_and_leaves_nothing_behind(tmp_path: Path) -> None:
    box = b"".join(b"From - Mon Nov  2 10:00:00 2026\n" + MAIL % number + b"\n" for number in (1, 2))
    (tmp_path / "one.eml").write_bytes(MAIL % 3)
    before = sorted(tmp_path.rglob("*"))

    done = ingest(tmp_path, "--dry-run", "--json", "-", "one.eml", stdin=box)

    told = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0
    assert 0 < told.pop("slowest_seconds") < 60
    assert told == {"mails": 3, "exceptions": 0, "notes": {}, "automatic": 0, "problems": 0}
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_without_json_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(b"From: no-reply@shop.example\nMessage-ID: <1@a.example>\n\nx")

    done = ingest(tmp_path, "--dry-run", ".")

    assert "1 mail, 0 read only in part" in done.stdout
    told = [["1", "automatic:", "automatic"], ["1", "no-date", "it", "has", "no", "readable", "date"]]
    assert [line.split() for line in done.stdout.splitlines()[1:]] == told


def test_a_path_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    done = ingest(tmp_path, "--dry-run", "--json", "gone")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("pointsman-desk: ")
    assert "gone does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_taken_in_twice_is_one_case(tmp_path: Path) -> None:
    (tmp_path / "one.eml").write_bytes(MAIL % 1)

    first = json.loads(ingest(tmp_path, "--json", "one.eml").stdout)
    second = json.loads(ingest(tmp_path, "--json", "-", stdin=MAIL % 1).stdout)

    assert (len(first["started"]), first["known"]) == (1, 0)
    assert (second["started"], second["known"], second["problems"]) == ([], 1, [])


def test_a_bounce_is_shown_with_what_it_says(tmp_path: Path) -> None:
    words = b"<jane@customer.example>:\n550 5.1.1 User unknown\n\nMessage-ID: <case-7.0a1b@shop.example>\n"
    ingest(tmp_path, "-", stdin=b"From: MAILER-DAEMON@mx.example\nSubject: failure notice\n\n" + words)

    shown = interpreter.run("-m", "pointsman_desk.cli.main", "show", "1", check=True, cwd=tmp_path)

    told = "Probably sent by a machine: bounce; failed; jane@customer.example; 5.1.1; of the mail case-7.0a1b@shop.example."
    assert told in shown.stdout


def test_an_unreadable_and_a_large_mail_are_cases_for_a_person(tmp_path: Path) -> None:
    (tmp_path / "large.eml").write_bytes(MAIL % 1 + b"x" * 300_000)
    (tmp_path / "nothing.eml").write_bytes(b"\x00\xff" * 200)

    ingest(tmp_path, "large.eml", "nothing.eml")

    cases = json.loads(interpreter.run("-m", "pointsman_desk.cli.main", "cases", "--json", check=True, cwd=tmp_path).stdout)
    assert [(case["from"], case["status"]) for case in cases] == [
        ("jane@customer.example", "waiting"),
        ("unknown@unreadable.invalid", "waiting"),
    ]
