"""Files of the desk that are not there, or are not what they should be: one sentence, the right next command, and no more held up than must be."""

import errno
import shutil
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from pointsman import StoreLocked
from pointsman_desk.cli.main import app
from pointsman_desk.config import SAMPLE, DeskConfig, load_config
from pointsman_desk.errors import IndexUnavailable, message_of
from pointsman_desk.mail.sent_replies import SentReplies, SentReply
from pointsman_desk.shop.guesses import Guesses

LOOKS = [("show", "1"), ("cases",), ("explain", "1"), ("cases", "--json")]
DECISIONS = [
    ("approve", "1", "--yes"), ("approve", "1"), ("reject", "1", "--yes"), ("edit", "1", "--text", "Hello."), ("cancel", "1", "--why", "x"), ("close", "1"),
    ("close", "--probably-automatic"), ("accept", "1"), ("reopen", "1"), ("redrive", "--all", "--why", "x"), ("resolve", "1", "--arrived"),
]  # fmt: skip


def command(folder: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*words, "--config", str(folder / "desk.toml")])
    return done.exit_code, " ".join((done.stdout + done.stderr).split())


def desk_in(folder: Path, *mails: str) -> DeskConfig:
    (folder / "mailbox").mkdir()
    for name in mails:
        shutil.copyfile(SAMPLE / "mails" / name, folder / "mailbox" / name)
    (folder / "desk.toml").write_text(
        f'home = "{folder / "desk"}"\nmailbox = "{folder / "mailbox"}"\nauthserv = "mx.haus-und-hof.example"\n', encoding="utf-8"
    )
    return load_config(folder / "desk.toml")


@pytest.fixture(name="worked")
def _worked(tmp_path: Path) -> DeskConfig:
    config = desk_in(tmp_path, "01-article.eml")
    assert command(tmp_path, "run")[0] == 0
    return config


def destroy(file: Path) -> None:
    for log in file.parent.glob(f"{file.name}-*"):
        log.unlink()
    file.write_bytes(b"no file of ours " * 200)


@pytest.mark.parametrize("words", [*LOOKS, *DECISIONS], ids=" ".join)
def test_a_desk_that_has_not_begun_names_its_first_command_and_stays_so(tmp_path: Path, words: tuple[str, ...]) -> None:
    config = desk_in(tmp_path)

    code, told = command(tmp_path, *words)

    assert code == 1
    assert told.startswith(f"pointsman-desk: there are no cases in {config.home} yet; take in the mailbox first: pointsman-desk run.")
    assert not config.home.exists()


@pytest.mark.parametrize("words", [*LOOKS, *DECISIONS], ids=" ".join)
def test_where_the_cases_are_gone_each_command_names_the_way_on(tmp_path: Path, worked: DeskConfig, words: tuple[str, ...]) -> None:
    for file in worked.home.glob("cases.db*"):
        file.unlink()

    code, told = command(tmp_path, *words)

    assert code == 1
    assert "cases.db cannot be used: it is missing." in told
    assert "`pointsman-desk run --after-restore`" in told


def test_the_doctor_finds_nothing_wrong_where_the_desk_has_not_begun(tmp_path: Path) -> None:
    code, told = command(tmp_path, "doctor") if desk_in(tmp_path) else (1, "")

    assert code == 0
    assert "cases: none yet; the first `pointsman-desk run` creates them" in told


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("secret", "secret is damaged; restore it from a backup, or delete it"),
        ("guesses.db", "guesses.db is damaged (file is not a database); delete it: it only counts"),
        ("threads.db", "threads.db cannot be opened (file is not a database); delete it"),
        ("sent.db", "sent.db cannot be opened (file is not a database); restore it"),
        ("cases.db", "cases.db is not a SQLite database. Nothing in it was changed. Restore it from a backup"),
    ],
)
def test_the_doctor_names_each_damaged_file_and_its_mend(tmp_path: Path, worked: DeskConfig, name: str, problem: str) -> None:
    assert command(tmp_path, "doctor")[0] == 0
    destroy(worked.home / name)

    code, told = command(tmp_path, "doctor")

    assert code == 1
    assert problem in told


def test_the_doctor_finds_the_signature_of_the_sample_under_an_address_of_ones_own(tmp_path: Path, worked: DeskConfig) -> None:
    file = tmp_path / "desk.toml"
    file.write_text(f'{file.read_text()}address = "support@my.example"\n', encoding="utf-8")
    sample = command(tmp_path, "doctor")
    worked.policy_file.write_text(worked.policy_file.read_text().replace("Your Haus & Hof team", "Your shop"), encoding="utf-8")

    assert sample[0] == 1
    assert f"policy: {worked.policy_file} is the sample policy; write your own signature and opening hours into it." in sample[1]
    assert command(tmp_path, "doctor")[0] == 0


@pytest.mark.parametrize(
    ("name", "mend"),
    [("policy.toml", f"restore it, or copy {SAMPLE / 'policy.toml'} to it and edit it."), ("shop.db", "restore it, or set `shop` to the")],
)
def test_a_file_that_is_gone_is_named_with_the_way_to_another_one(tmp_path: Path, worked: DeskConfig, name: str, mend: str) -> None:
    (worked.home / name).unlink()

    code, told = command(tmp_path, "run")

    assert code == 1
    assert f"{worked.home / name} is missing; {mend}" in told


def test_the_doctor_finds_what_is_damaged_in_the_middle_of_the_guesses(tmp_path: Path, worked: DeskConfig) -> None:
    (worked.home / "guesses.db-wal").unlink(missing_ok=True)
    pages = bytearray(worked.guesses_file.read_bytes())
    pages[4096:] = b"\xff" * (len(pages) - 4096)
    worked.guesses_file.write_bytes(pages)

    code, told = command(tmp_path, "doctor")

    assert code == 1
    assert "guesses.db is damaged" in told


@pytest.mark.parametrize("name", ["outbox", "outbox/new", "cases.db.lock"])
def test_the_doctor_finds_what_is_no_folder_or_no_file(tmp_path: Path, worked: DeskConfig, name: str) -> None:
    place = worked.home / name
    if name == "cases.db.lock":
        place.unlink()
        place.mkdir()
    else:
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(exist_ok=True)
        place.write_text("", encoding="utf-8")

    code, told = command(tmp_path, "doctor")

    assert code == 1
    assert f"{place} is not a writable f" in told


def test_a_damaged_count_of_guesses_stops_the_mailbox_and_no_decision(tmp_path: Path, worked: DeskConfig) -> None:
    destroy(worked.guesses_file)

    run, approved = command(tmp_path, "run"), command(tmp_path, "approve", "1", "--yes")

    assert run[0] == 1
    assert run[1].endswith("delete it: it only counts the wrong order numbers of the last day.")
    assert approved[0] == 0
    assert "was sent as" in approved[1]
    worked.guesses_file.unlink()
    assert command(tmp_path, "run")[0] == 0


@pytest.mark.parametrize("why", ["", "  ", "\u200b\u202e"])
@pytest.mark.parametrize("words", [("cancel", "1"), ("redrive", "1"), ("redrive", "--all"), ("reject", "1", "--yes"), ("reopen", "1")])
def test_a_reason_that_says_nothing_is_refused(tmp_path: Path, worked: DeskConfig, words: tuple[str, ...], why: str) -> None:
    code, told = command(tmp_path, *words, "--why", why)

    assert worked.cases_file.exists()
    assert code == 2
    assert "it is empty; give a text for the people who read" in told


def test_a_name_that_says_nothing_is_refused(tmp_path: Path, worked: DeskConfig) -> None:
    assert [command(tmp_path, "approve", "1", "--yes", "--by", by)[0] for by in ("", "  ", "anna")] == [2, 2, 0]
    assert len([*(worked.outbox / "new").iterdir()]) == 1


@pytest.mark.parametrize(
    "words", [("show", "7"), ("cancel", "7", "--why", "x"), ("approve", "7", "--yes"), ("explain", "7"), ("close", "7")]
)
def test_a_case_that_is_not_there_names_the_desks_own_command(tmp_path: Path, worked: DeskConfig, words: tuple[str, ...]) -> None:
    assert worked.cases_file.exists()
    assert command(tmp_path, *words) == (1, "pointsman-desk: there is no case 7; list the cases with `pointsman-desk cases`.")


def test_a_copy_of_the_policy_that_was_cut_short_is_no_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = desk_in(tmp_path)

    def cut_short(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", cut_short)
        full = command(tmp_path, "run")

    assert full[0] == 1
    assert "cannot be written (No space left on device)" in full[1]
    assert [*config.home.iterdir()] == []
    assert command(tmp_path, "run")[0] == 0


def test_an_error_leaves_no_transaction_open_and_no_weaker_flush(tmp_path: Path) -> None:
    sent_replies = SentReplies(tmp_path / "sent.db", Random(1))
    connection = sent_replies._connection
    for table, change in (("sent", "INSERT"), ("taken", "INSERT"), ("desk", "UPDATE")):
        connection.execute(f"CREATE TRIGGER full_{table} BEFORE {change} ON {table} BEGIN SELECT raise(FAIL, 'disk full'); END")

    for write in (
        lambda: sent_replies.record(SentReply("k", 1, "c", 0.0), ["m"]),
        lambda: sent_replies.record_case(1, "c"),
        sent_replies.forget_cases,
    ):
        with pytest.raises(
            IndexUnavailable,
            match=r"sent\.db cannot be used now \(disk full\); make it writable, free disk space, or close the other program that has it open",
        ):
            write()
        assert not connection.in_transaction
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)

    connection.execute("DROP TRIGGER full_sent")
    sent_replies.record(SentReply("k", 1, "c", 0.0), ["m"])


def test_the_guesses_go_on_after_an_error(tmp_path: Path) -> None:
    guesses = Guesses(tmp_path / "guesses.db")
    assert guesses.may_name("a@b.example", "A-1", 0.0)
    assert guesses._connection is not None
    guesses._connection.execute("CREATE TRIGGER full_now BEFORE INSERT ON guesses BEGIN SELECT raise(FAIL, 'disk full'); END")

    with pytest.raises(IndexUnavailable):
        guesses.may_name("a@b.example", "A-2", 0.0)
    guesses._connection.execute("DROP TRIGGER full_now")

    assert guesses.may_name("a@b.example", "A-3", 0.0)


def test_the_doctor_tells_of_a_disk_that_is_almost_full_and_of_another_desk(
    tmp_path: Path, worked: DeskConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert worked.mailbox is not None
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3_000_000))
    full = command(tmp_path, "doctor")
    monkeypatch.undo()
    (tmp_path / "second.toml").write_text((tmp_path / "desk.toml").read_text().replace('/desk"', '/second"'), encoding="utf-8")
    second = CliRunner().invoke(app, ["doctor", "--config", str(tmp_path / "second.toml")])

    assert full[0] == 1
    assert f"disk: only 3 MB are free on the disk of {worked.home}" in full[1]
    assert second.exit_code == 1
    assert f"mailbox: the mailbox {worked.mailbox} belongs to the desk in {worked.home};" in " ".join(second.stdout.split())
    assert command(tmp_path, "doctor")[0] == 0


def test_cases_that_were_emptied_or_are_a_folder_name_the_way_on(tmp_path: Path, worked: DeskConfig) -> None:
    destroy(worked.cases_file)
    worked.cases_file.write_bytes(b"")
    emptied = [command(tmp_path, *words) for words in (("show", "1"), ("run",))]
    worked.cases_file.unlink()
    worked.cases_file.mkdir()
    folder = [command(tmp_path, *words) for words in (("show", "1"), ("run",))]

    assert [code for code, _ in (*emptied, *folder)] == [1] * 4
    assert "cases.db holds no cases. Take in the mailbox: pointsman-desk run; if it held cases before," in emptied[0][1]
    assert all("`pointsman-desk run --after-restore`" in told for _, told in (*emptied, *folder))


def test_a_command_that_waits_for_another_one_says_so_in_the_desks_words() -> None:
    locked = StoreLocked("/a/cases.db is open in another engine (process 7); stop that one, or do the work through it.")

    assert message_of(locked) == "/a/cases.db is in use by another command (process 7)."
