"""The desk as a program: what keeps it from working ends nothing, decisions get in between mails, and every end is a clear one."""

import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import interpreter
from pointsman_desk.config import SAMPLE, DeskConfig
from smtp_faults import mail_server

BOUND_SECONDS = 300.0  # against a hang only
NOBODY = 65_534  # a user who owns nothing
PLAINLY = "from pointsman_desk.cli import main; main.main()"
QUICKLY = """
from pointsman_desk import running
from pointsman_desk.cli import keeping, main
from pointsman_desk.mail.sources import watched
from pointsman_desk.shop import sqlite
running.LOOK_SECONDS = running.CHECK_SECONDS = keeping.AGAIN_SECONDS = 0.05
watched.SETTLE_SECONDS = sqlite.BUSY_TIMEOUT_SECONDS = 0.0
main.main()
"""


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> DeskConfig:
    (tmp_path / "mailbox").mkdir()
    config = DeskConfig(home=tmp_path / "desk", mailbox=tmp_path / "mailbox", authserv="mx.haus-und-hof.example")
    write(config)
    return config


def write(config: DeskConfig, more: str = "") -> None:
    text = f'home = "{config.home}"\nmailbox = "{config.mailbox}"\nauthserv = "{config.authserv}"\n{more}'
    file_of(config).write_text(text, encoding="utf-8")


def file_of(config: DeskConfig) -> Path:
    return config.home.parent / "desk.toml"


def deliver(config: DeskConfig, number: int, name: str = "01-article.eml") -> None:
    """Deliver a copy of a sample mail with a Message-ID of its own."""
    assert config.mailbox is not None
    raw = (SAMPLE / "mails" / name).read_bytes().replace(b"Message-ID: <", f"Message-ID: <n{number}-".encode(), 1)
    aside = config.home.parent / "aside"
    aside.write_bytes(raw)
    aside.rename(config.mailbox / f"{number:05}.eml")


def arguments(config: DeskConfig, *words: str, code: str = PLAINLY) -> list[str]:
    return [sys.executable, "-c", code, *words, "--config", str(file_of(config))]


def command(config: DeskConfig, *words: str, code: str = PLAINLY, **settings: Any) -> subprocess.CompletedProcess[str]:
    return interpreter.run(*arguments(config, *words, code=code)[1:], **settings)


@contextmanager
def watching(config: DeskConfig, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A desk that watches; it is killed where the test has not ended it."""
    asked = arguments(config, "serve", "--port", "0", "--json", *words, code=QUICKLY)
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1) as process:
        too_late = threading.Timer(BOUND_SECONDS, process.kill)
        too_late.start()
        try:
            yield process
        finally:
            too_late.cancel()
            process.kill()


def next_started(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return next(done["started"] for line in process.stdout if (done := json.loads(line)).get("started"))


def all_until(process: subprocess.Popen[str], word: str) -> list[str]:
    """What the desk tells from now on, up to the line that has this word."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if word in line:
            break
    assert word in "".join(lines), lines
    return lines


def next_told(process: subprocess.Popen[str], word: str) -> str:
    return all_until(process, word)[-1]


def replace(file: Path, text: str) -> None:
    """Replace a file in one step, as an editor does: the watching desk never reads half of it."""
    new = file.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


@contextmanager
def a_broken_policy(config: DeskConfig) -> Iterator[str]:
    sound = config.policy_file.read_text(encoding="utf-8")
    replace(config.policy_file, "refund_days = -1\n")
    yield "refund_days"
    replace(config.policy_file, sound)


@contextmanager
def a_missing_shop(config: DeskConfig) -> Iterator[str]:
    away = config.shop_file.with_name("away")
    config.shop_file.rename(away)
    config.shop_file.mkdir()  # or the sample shop would be made again
    yield "shop.db is missing"
    config.shop_file.rmdir()
    away.rename(config.shop_file)


@contextmanager
def a_locked_shop(config: DeskConfig) -> Iterator[str]:
    with closing(sqlite3.connect(config.shop_file, isolation_level=None)) as shop:
        shop.execute("BEGIN EXCLUSIVE")
        yield "shop.db cannot be read as one: database is locked"


@contextmanager
def no_mailbox(config: DeskConfig) -> Iterator[str]:
    assert config.mailbox is not None
    away = config.mailbox.with_name("away")
    config.mailbox.rename(away)
    yield "mailbox does not exist"
    away.rename(config.mailbox)


@contextmanager
def a_locked_index(config: DeskConfig) -> Iterator[str]:
    with closing(sqlite3.connect(config.threads_file, isolation_level=None)) as index:
        index.execute("BEGIN EXCLUSIVE")
        yield "threads.db"


@contextmanager
def at_a_standstill(config: DeskConfig) -> Iterator[None]:
    """While the desk stands still, files can be put in the place of others."""
    while not (told := config.cases_file.with_name("cases.db.lock").read_text()):
        pass  # the desk is about to write it
    os.kill(int(told), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(int(told), signal.SIGCONT)


@contextmanager
def damaged(config: DeskConfig, file: Path) -> Iterator[str]:
    """Something else stands in the place of a file; what SQLite keeps beside it goes with it, or it would mend the file."""
    away = file.with_name("away")
    away.mkdir()
    with at_a_standstill(config):
        for one in file.parent.glob(f"{file.name}*"):
            one.rename(away / one.name)
        file.write_bytes(b"no file of ours " * 200)
    yield file.name
    with at_a_standstill(config):
        for one in file.parent.glob(f"{file.name}*"):
            one.unlink()
        for one in away.glob(f"{file.name}*"):
            one.rename(file.with_name(one.name))
    away.rmdir()


def a_damaged_index(config: DeskConfig) -> AbstractContextManager[str]:
    return damaged(config, config.threads_file)


def damaged_sent_db(config: DeskConfig) -> AbstractContextManager[str]:
    return damaged(config, config.sent_file)


def a_damaged_secret(config: DeskConfig) -> AbstractContextManager[str]:
    return damaged(config, config.secret_file)


def damaged_guesses(config: DeskConfig) -> AbstractContextManager[str]:
    return damaged(config, config.guesses_file)


TROUBLES = [
    a_broken_policy, a_missing_shop, a_locked_shop, no_mailbox, a_locked_index, a_damaged_index, damaged_sent_db,
    a_damaged_secret, damaged_guesses,
]  # fmt: skip


def test_a_watching_desk_outlives_what_keeps_it_from_working(config: DeskConfig) -> None:
    told: list[str] = []
    words, started, health = [], {}, {}
    with watching(config) as process:
        deliver(config, 1)
        next_started(process)
        for number, trouble in enumerate(TROUBLES, start=2):
            with trouble(config) as word:
                if trouble is a_locked_index:
                    deliver(config, number)  # nothing is amiss before there is something to write
                told += all_until(process, word)
                health[trouble] = command(config, "doctor", code=QUICKLY)
            if trouble is not a_locked_index:
                deliver(config, number)
            words.append(word)
            started[trouble] = next_started(process)
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=BOUND_SECONDS)

    assert started == {trouble: [number] for number, trouble in enumerate(TROUBLES, start=2)}
    lines = [*told, *rest.splitlines()]
    assert {word: sum(word in line for line in lines) for word in words} == Counter(words), lines
    assert not any("Traceback" in line for line in lines)
    assert process.returncode == 128 + signal.SIGTERM
    assert {trouble: done.returncode for trouble, done in health.items()} == {
        trouble: int(trouble is not a_locked_index) for trouble in TROUBLES
    }
    assert not any("Traceback" in done.stderr for done in health.values())


def test_a_desk_waits_for_the_cases_that_another_program_has_open(config: DeskConfig) -> None:
    deliver(config, 1)
    command(config, "run")
    with config.cases_file.with_name("cases.db.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with watching(config) as process:
            next_told(process, "waiting for the cases")
            fcntl.flock(lock, fcntl.LOCK_UN)
            deliver(config, 2)
            started = next_started(process)

    assert started == [2]


# A slow command would else come when the mails are all in.
LAST_MAIL_WAITS = f"""
import asyncio, itertools, pathlib
from pointsman_desk.intake import Intake
begin, numbers = Intake.begin, itertools.count(1)
async def begin_later(self, raw):
    last = next(numbers) == {{mails}}
    while last and not pathlib.Path("{{file}}").exists():
        await asyncio.sleep(0.01)
    await begin(self, raw)
Intake.begin = begin_later
{PLAINLY}
"""


def test_decisions_get_in_while_many_mails_come(config: DeskConfig) -> None:
    mails, decided_on = 400, config.home.with_name("decided")
    for number in range(3):
        deliver(config, number)
    assert command(config, "run").returncode == 0
    for number in range(3, mails):
        deliver(config, number)

    asked = arguments(config, "run", "--json", code=LAST_MAIL_WAITS.format(mails=mails, file=decided_on))
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as process:
        decided = [command(config, "reject", str(case), "--why", "a test", "--yes", "--by", "anna") for case in (1, 2, 3)]
        cases = len(json.loads(command(config, "cases", "--json").stdout))
        decided_on.touch()
        ran, _ = process.communicate(timeout=BOUND_SECONDS)

    assert [done.returncode for done in decided] == [0, 0, 0], decided[0].stderr
    assert cases < mails
    assert len(json.loads(ran)["started"]) == mails - 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_watching_desk_in_order(config: DeskConfig, number: signal.Signals) -> None:
    deliver(config, 1)
    with watching(config) as process:
        next_started(process)
        process.send_signal(number)
        _, told = process.communicate(timeout=BOUND_SECONDS)

    assert process.returncode == 128 + number
    assert "stopped" in told
    assert "Traceback" not in told


@contextmanager
def silent_server(config: DeskConfig) -> Iterator[threading.Event]:
    """The desk sends by a mail server that takes a mail and never answers; the event is set when a mail has reached it."""
    reached = threading.Event()
    with mail_server("content", "silence") as server:
        server.reached = lambda at: reached.set() if at == "content" else None
        write(config, f'[smtp]\nhost = "127.0.0.1"\nport = {server.port}\ntls = "none"\n')
        yield reached


def test_a_second_signal_ends_the_desk_at_once_and_loses_nothing(config: DeskConfig) -> None:
    with silent_server(config) as reached:
        deliver(config, 1)
        command(config, "run")
        with subprocess.Popen(arguments(config, "approve", "1", "--yes", "--by", "anna"), stderr=subprocess.PIPE, text=True) as process:
            assert reached.wait(BOUND_SECONDS)
            process.send_signal(signal.SIGINT)
            first = next_told(process, "stopping")
            process.send_signal(signal.SIGINT)
            _, second = process.communicate(timeout=BOUND_SECONDS)

    assert process.returncode == 128 + signal.SIGINT
    assert first == "pointsman-desk: stopping: waiting up to 11 minutes for the running step; press Ctrl-C again to stop now.\n"
    assert "stopped at once" in second
    assert "Traceback" not in second
    assert [case["status"] for case in json.loads(command(config, "cases", "--json").stdout)] == ["running"], "the approval is kept"


def test_a_list_tells_that_sending_was_interrupted_before_any_desk_is_opened_again(config: DeskConfig) -> None:
    with silent_server(config) as reached:
        deliver(config, 1)
        command(config, "run")
        with subprocess.Popen(arguments(config, "approve", "1", "--yes", "--by", "anna")) as process:
            assert reached.wait(BOUND_SECONDS)
            under_way = [command(config, *words).stdout for words in (("cases",), ("show", "1"))]
            process.kill()
        cut_short = [command(config, *words).stdout for words in (("cases",), ("show", "1"))]
        command(config, "run")
        settled = [command(config, *words).stdout for words in (("cases",), ("show", "1"))]

    assert ["the reply is being sent" in told for told in under_way] == [True, True]
    assert ["sending was interrupted; the next `pointsman-desk run` settles it" in told for told in cut_short] == [True, True]
    assert "Interrupted: the reply of 20" in cut_short[1]
    assert ["nobody knows whether the reply was sent" in told for told in settled] == [True, True]


def test_a_desk_that_stands_still_keeps_its_turn_and_nothing_is_sent_twice(config: DeskConfig) -> None:
    begun, go = threading.Event(), threading.Event()

    def hold(at: str) -> None:
        if at == "content":
            begun.set()
            go.wait(BOUND_SECONDS)

    with mail_server() as server:
        server.reached = hold
        write(config, f'[smtp]\nhost = "127.0.0.1"\nport = {server.port}\ntls = "none"\n')
        deliver(config, 1)
        command(config, "run")
        asked = arguments(config, "approve", "1", "--yes", "--by", "anna")
        with subprocess.Popen(asked, stderr=subprocess.PIPE, text=True) as first:
            assert begun.wait(BOUND_SECONDS)
            first.send_signal(signal.SIGSTOP)
            with subprocess.Popen(asked, stderr=subprocess.PIPE, text=True) as second:
                told = next_told(second, "waiting for the cases")
                go.set()
                first.send_signal(signal.SIGCONT)
                _, complained = first.communicate(timeout=BOUND_SECONDS)
                _, refused = second.communicate(timeout=BOUND_SECONDS)

    assert f"is in use by another command (process {first.pid})" in told
    assert (first.returncode, complained) == (0, "")
    assert (second.returncode, "it is done (sent)" in refused) == (1, True)
    assert len(server.taken) == 1


HELD_UP = f"""
import time
from pointsman_desk.models.offline import OfflineModel
def hold_up(self, mail):
    print("held up", flush=True)
    time.sleep({BOUND_SECONDS})
OfflineModel.classify = hold_up
{PLAINLY}
"""


@pytest.mark.parametrize(
    ("number", "again"), [(signal.SIGINT, "press Ctrl-C again to stop now"), (signal.SIGTERM, "send SIGTERM again to stop now")]
)
def test_a_desk_whose_step_holds_up_everything_tells_so_at_once_and_stops_when_told_again(
    config: DeskConfig, number: signal.Signals, again: str
) -> None:
    deliver(config, 1)
    with subprocess.Popen(arguments(config, "run", code=HELD_UP), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held up\n"
        process.send_signal(number)
        first = next_told(process, "stopping")
        process.send_signal(number)
        _, second = process.communicate(timeout=BOUND_SECONDS)

    assert first == f"pointsman-desk: stopping: waiting up to 1 minute for the running step; {again}.\n"
    assert (process.returncode, second) == (
        128 + number, "pointsman-desk: stopped at once; the next run continues unfinished cases.\n"
    )  # fmt: skip
    assert json.loads(command(config, "run", "--json").stdout)["known"] == 1
    assert [case["status"] for case in json.loads(command(config, "cases", "--json").stdout)] == ["waiting"]


@pytest.mark.parametrize("trouble", [a_broken_policy, a_missing_shop, a_locked_shop])
def test_decisions_need_neither_shop_nor_policy(config: DeskConfig, trouble: Any) -> None:
    for number in range(4):
        deliver(config, number)
    assert command(config, "run").returncode == 0

    with trouble(config):
        ran = command(config, "run", code=QUICKLY)
        decided = [
            command(config, *words, "--by", "anna")
            for words in (
                ("approve", "1", "--yes"),
                ("reject", "2", "--yes"),
                ("cancel", "3", "--why", "a test"),
                ("edit", "4", "--text", "Another text."),
            )
        ]
        looked = [command(config, *words) for words in (("cases",), ("show", "4"))]

    assert ran.returncode == 1
    assert [done.returncode for done in decided + looked] == [0] * 6, [done.stderr for done in decided + looked]


def test_what_only_looks_or_declines_needs_no_secret(config: DeskConfig) -> None:
    for number in range(3):
        deliver(config, number)
    assert command(config, "run").returncode == 0
    write(
        config,
        '[smtp]\nhost = "127.0.0.1"\ntls = "none"\nusername = "desk"\npassword_env = "NOT_SET_1"\n'
        '[[models]]\nmodel = "m"\napi_key_env = "NOT_SET_2"\n',
    )

    done = {words: command(config, *words) for words in (("cases",), ("show", "1"), ("reject", "1"), ("approve", "2", "--yes"), ("run",))}

    assert [result.returncode for result in done.values()] == [0, 0, 0, 1, 1], [result.stderr for result in done.values()]
    assert "smtp.password_env names NOT_SET_1" in done[("approve", "2", "--yes")].stderr.replace("\n", " ")
    assert [case["status"] for case in json.loads(command(config, "cases", "--json").stdout)] == ["done", "waiting", "waiting"]


@pytest.mark.parametrize("words", [("cases",), ("show", "1"), ("run",), ("doctor",)])
def test_output_that_cannot_be_written_is_one_sentence(config: DeskConfig, words: tuple[str, ...]) -> None:
    deliver(config, 1)
    command(config, "run")

    with Path("/dev/full").open("w") as full:
        done = command(config, *words, stdout=full)

    assert done.returncode == 1
    assert "cannot be written (No space left on device)" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_lost_cases_are_one_sentence_and_a_person_says_how_it_goes_on(config: DeskConfig) -> None:
    deliver(config, 1, "06-hours-en.eml")
    first = command(config, "run")
    config.cases_file.unlink()

    refused = [command(config, *words) for words in (("run",), ("serve", "--port", "0"), ("redrive", "--all", "--why", "a test"))]
    restored, again = command(config, "run", "--after-restore", "--json"), command(config, "run", "--json")

    assert [done.returncode for done in (first, *refused, restored, again)] == [0, 1, 1, 1, 0, 0]
    assert [done.stderr.count("run --after-restore") for done in refused] == [1, 1, 1], [done.stderr for done in refused]
    assert (json.loads(restored.stdout)["started"], json.loads(again.stdout)["known"]) == ([1], 1)
    assert len(list((config.outbox / "new").iterdir())) == 1


def test_a_server_that_is_slow_to_answer_holds_no_other_mail(config: DeskConfig) -> None:
    with silent_server(config) as reached, watching(config) as process:
        deliver(config, 1, "06-hours-en.eml")
        assert reached.wait(BOUND_SECONDS)
        deliver(config, 2)
        while len(json.loads(command(config, "cases", "--json").stdout)) < 2:
            assert process.poll() is None
        process.kill()


def test_what_a_person_says_of_a_decision_moves_no_terminal(config: DeskConfig) -> None:
    deliver(config, 1)
    command(config, "run")
    obeyed = "\x1b[2J\x1b]0;title\x07\x9b31m\u202eright to left\u200b"

    done = command(config, "cancel", "1", "--why", f"because {obeyed}", "--by", f"anna{obeyed}")
    shown = [command(config, *words).stdout for words in (("show", "1"), ("show", "1", "--json"), ("cases",), ("cases", "--json"))]
    library = [
        interpreter.run("-m", "pointsman.cli.main", *words, "--db", config.cases_file, check=True)
        for words in (("show", "1"), ("events",), ("events", "--json"))
    ]  # fmt: skip

    assert done.returncode == 0
    for output in [done.stdout, *shown, *(ran.stdout for ran in library)]:
        assert not {"\x1b", "\x07", "\x9b", "\u202e", "\u200b"} & set(output)


AS_NOBODY = f"""
import contextlib, io, os, sys
from pointsman_desk.cli import main
asked, sys.argv[1:] = sys.argv[1:], ["show", "1", *sys.argv[-2:]]
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main.main()  # imports what comes late, which this user may not be able to read
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid({NOBODY})
sys.argv[1:] = asked
main.main()
"""


def as_nobody(config: DeskConfig, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user who may write nothing, also where the tests are root's."""
    return command(config, *words, code=AS_NOBODY)


@pytest.fixture(name="public")
def _public() -> Iterator[Path]:
    """A folder that any user can look into; pytest's own ones are their user's."""
    with tempfile.TemporaryDirectory(prefix="pointsman-desk-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_where_nothing_can_be_written_looking_works_and_the_rest_is_one_sentence(public: Path) -> None:
    (public / "mailbox").mkdir()
    config = DeskConfig(home=public / "desk", mailbox=public / "mailbox", authserv="mx.haus-und-hof.example")
    write(config)
    deliver(config, 1)
    command(config, "run")
    for place in (config.home, *config.home.iterdir()):
        place.chmod(0o555 if place.is_dir() else 0o444)

    looked = [as_nobody(config, *words) for words in (("cases",), ("show", "1"))]
    refused = [as_nobody(config, *words) for words in (("run",), ("redrive", "--all", "--why", "a test"), ("run", "--after-restore"))]
    ill = as_nobody(config, "doctor")
    config.home.chmod(0o755)

    assert [done.returncode for done in looked] == [0, 0], [done.stderr for done in looked]
    assert [done.returncode for done in (*refused, ill)] == [1] * 4
    assert all(done.stderr.count("pointsman-desk: ") == 1 and "writable" in done.stderr for done in refused), [
        done.stderr for done in refused
    ]
    assert not any("Traceback" in done.stderr for done in (*looked, *refused, ill))


@pytest.mark.parametrize("name", ["shop.db", "policy.toml"])
def test_no_sample_takes_the_place_of_a_file_that_is_gone(config: DeskConfig, name: str) -> None:
    write(config)
    assert command(config, "run").returncode == 0
    (config.home / name).unlink()
    deliver(config, 1, "02-status-en.eml")

    done = command(config, "run")

    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert name in done.stderr
    assert not (config.home / name).exists()
    assert not list((config.outbox / "new").glob("*"))
