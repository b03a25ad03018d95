"""Files of the desk that are not there, or are not what they should be: one sentence, the right next command, and no more held up than must be."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pointsman_desk.cli.main import app
from pointsman_desk.config import SAMPLE, DeskConfig, load_config

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
    assert "cases.db is not what this desk has worked on: it is missing." in told
    assert "`pointsman-desk run --after-restore`" in told


def test_the_doctor_finds_nothing_wrong_where_the_desk_has_not_begun(tmp_path: Path) -> None:
    code, told = command(tmp_path, "doctor") if desk_in(tmp_path) else (1, "")

    assert code == 0
    assert "cases: none yet; the first `pointsman-desk run` makes them" in told


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("secret", "secret is damaged; put it back from a backup, or delete it"),
        ("guesses.db", "guesses.db is damaged (file is not a database); delete it: it only counts"),
        ("threads.db", "threads.db cannot be opened (file is not a database); delete it"),
        ("sent.db", "sent.db cannot be opened (file is not a database); restore it"),
        ("cases.db", "cases.db is not a SQLite database. Nothing in it was changed. Put a copy from a backup in its place"),
    ],
)
def test_the_doctor_names_each_damaged_file_and_its_mend(tmp_path: Path, worked: DeskConfig, name: str, problem: str) -> None:
    assert command(tmp_path, "doctor")[0] == 0
    destroy(worked.home / name)

    code, told = command(tmp_path, "doctor")

    assert code == 1
    assert problem in told


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
    assert f"{place} is not a f" in told


def test_a_damaged_count_of_guesses_stops_the_mailbox_and_no_decision(tmp_path: Path, worked: DeskConfig) -> None:
    destroy(worked.guesses_file)

    run, approved = command(tmp_path, "run"), command(tmp_path, "approve", "1", "--yes")

    assert run[0] == 1
    assert run[1].endswith("delete it: it only counts the wrong order numbers that senders named in the last day.")
    assert approved[0] == 0
    assert "was sent as" in approved[1]
    worked.guesses_file.unlink()
    assert command(tmp_path, "run")[0] == 0


@pytest.mark.parametrize("why", ["", "  ", "\u200b\u202e"])
@pytest.mark.parametrize("words", [("cancel", "1"), ("redrive", "1"), ("redrive", "--all"), ("reject", "1", "--yes"), ("reopen", "1")])
def test_a_reason_that_says_nothing_is_refused(tmp_path: Path, worked: DeskConfig, words: tuple[str, ...], why: str) -> None:
    code, told = command(tmp_path, *words, "--why", why)

    assert worked.database.exists()
    assert code == 2
    assert "it is empty; write something for those who read" in told


def test_a_name_that_says_nothing_is_refused(tmp_path: Path, worked: DeskConfig) -> None:
    assert [command(tmp_path, "approve", "1", "--yes", "--by", by)[0] for by in ("", "  ", "anna")] == [2, 2, 0]
    assert len([*(worked.outbox / "new").iterdir()]) == 1


@pytest.mark.parametrize(
    "words", [("show", "7"), ("cancel", "7", "--why", "x"), ("approve", "7", "--yes"), ("explain", "7"), ("close", "7")]
)
def test_a_case_that_is_not_there_names_the_desks_own_command(tmp_path: Path, worked: DeskConfig, words: tuple[str, ...]) -> None:
    assert worked.database.exists()
    assert command(tmp_path, *words) == (1, "pointsman-desk: there is no case 7; list the cases with `pointsman-desk cases`.")
