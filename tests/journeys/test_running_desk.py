"""Commands while the desk runs: from four processes at once, while mails come in, and across the desk's end and restart.

Each command succeeds or is truthfully refused, nothing is sent twice, and nobody meets a lock. The waits are printed, not asserted.
"""

import json
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

import interpreter
from pointsman.client import find_running
from pointsman_desk.config import SAMPLE
from tiers import seed

BOUND_SECONDS = 600.0  # against a hang only
MAILS, PROCESSES, COMMANDS = 30, 4, 50
DONE, REFUSED = 0, 1
REFUSALS = (
    "is done (sent)",
    "breaks a rule",
    "has changed",
    "changed since you saw it",
    "is not parked",
    "cannot be redriven",
    "already answered",
    "is not waiting",
)


class Done(NamedTuple):
    words: tuple[str, ...]
    code: int
    said: str
    seconds: float


class Desk:
    def __init__(self, folder: Path) -> None:
        self.home, self.box, self.file = folder / "desk", folder / "mailbox", folder / "desk.toml"
        for name in ("new", "cur", "tmp"):
            (self.box / name).mkdir(parents=True)
        self.file.write_text(f'home = "{self.home}"\nmailbox = "{self.box}"\nauthserv = "mx.haus-und-hof.example"\n', encoding="utf-8")

    def deliver(self, number: int) -> None:
        raw = (SAMPLE / "mails" / "01-article.eml").read_bytes().replace(b"Message-ID: <", f"Message-ID: <n{number}-".encode(), 1)
        (self.box / "tmp" / f"{number:05}").write_bytes(raw)
        (self.box / "tmp" / f"{number:05}").rename(self.box / "new" / f"{number:05}")

    def command(self, *words: str) -> Done:
        begun = time.perf_counter()
        ran = interpreter.run("-m", "pointsman_desk.cli.main", *words, "--config", self.file, timeout=BOUND_SECONDS)
        return Done(words, ran.returncode, (ran.stdout if ran.returncode == 0 else "") + ran.stderr, time.perf_counter() - begun)

    def json(self, *words: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self.command(*words, "--json").said)
        return found

    @contextmanager
    def serving(self) -> Iterator["subprocess.Popen[str]"]:
        arguments = [sys.executable, "-m", "pointsman_desk.cli.main", "serve", "--port", "0", "--json", "--config", str(self.file)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            too_late = threading.Timer(BOUND_SECONDS, process.kill)
            too_late.start()
            try:
                assert process.stdout is not None
                assert "ready" in process.stdout.readline()
                yield process
            finally:
                too_late.cancel()
                process.kill()


@pytest.fixture(name="desk")
def _desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    for number in range(MAILS):
        desk.deliver(number)
    assert desk.command("run").code == DONE
    return desk


def plan(chance: Random) -> list[tuple[str, ...]]:
    """Fifty commands on thirty cases: most are approved or edited once, some twice, which the second must be told."""
    made: list[tuple[str, ...]] = []
    for _ in range(COMMANDS):
        case = str(chance.randint(1, MAILS))
        made.append(
            chance.choice([
                ("approve", case, "--yes", "--by", "anna"),
                ("edit", case, "--text", f"Dear customer, this is text {len(made)}.", "--by", "bert"),
                ("show", case),
                ("cases",),
                ("redrive", case, "--why", "a test", "--by", "carl"),
            ])
        )  # fmt: skip
    return made


def at_once(desk: Desk, commands: list[tuple[str, ...]], meanwhile: Callable[[list[Done], threading.Event], None]) -> list[Done]:
    """Run the commands, four at a time, and beside them `meanwhile`, which sees what is done and when all is."""
    done: list[Done] = []
    all_done = threading.Event()
    taking = iter(commands)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                words = next(taking, None)
            if words is None:
                return
            done.append(desk.command(*words))

    threads = [threading.Thread(target=work) for _ in range(PROCESSES)]
    for thread in threads:
        thread.start()
    waiting = threading.Thread(target=lambda: ([thread.join() for thread in threads], all_done.set()))
    waiting.start()
    meanwhile(done, all_done)
    assert all_done.wait(BOUND_SECONDS)
    waiting.join()
    return done


def told(done: list[Done], what: str) -> None:
    seconds = sorted(one.seconds for one in done)
    counts = Counter((one.words[0], "done" if one.code == DONE else "refused") for one in done)
    print(f"\n{what}: {len(done)} commands from {PROCESSES} processes; {dict(sorted(counts.items()))}")
    long = sum("waiting for the cases" in one.said for one in done)
    print(
        f"  {long} waited for more than a second; a command took {statistics.median(seconds):.2f} s at the median, {seconds[-1]:.2f} s at most"
    )


def outbox(desk: Desk) -> Counter[str]:
    """How many replies there are to each mail."""
    replies = [message_from_bytes(file.read_bytes()) for file in (desk.home / "outbox" / "new").iterdir()]
    return Counter(str(reply["In-Reply-To"]) for reply in replies)


def prove(desk: Desk, done: list[Done], more: int) -> None:
    assert len(done) == COMMANDS
    for one in done:
        assert "Traceback" not in one.said
        assert one.code == DONE or (one.code == REFUSED and any(refusal in " ".join(one.said.split()) for refusal in REFUSALS)), one
    found = desk.json("cases")
    approved = {one.words[1] for one in done if one.words[0] == "approve" and one.code == DONE}
    sent = {str(case["id"]) for case in found if case["outcome"] == "sent"}
    assert len(found) == MAILS + more
    assert approved <= sent, "an approval that was told as done is not"
    assert set(outbox(desk).values()) <= {1}, "a reply was sent twice"
    assert len(outbox(desk)) == len(sent)


def test_fifty_commands_from_four_processes_while_mails_come_in(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    more = 40

    def meanwhile(_: list[Done], all_done: threading.Event) -> None:
        for number in range(MAILS, MAILS + more):
            desk.deliver(number)
        assert all_done.wait(BOUND_SECONDS)

    with desk.serving() as process:
        done = at_once(desk, plan(Random(seed())), meanwhile)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=BOUND_SECONDS)
    assert desk.command("run").code == DONE

    prove(desk, done, more)
    with capsys.disabled():
        told(done, "while mails come in")


def test_fifty_commands_while_the_desk_is_killed_and_started_again(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    more, kills = 20, 3

    def meanwhile(done: list[Done], all_done: threading.Event) -> None:
        for life in range(kills):
            with desk.serving() as process:
                for number in range(MAILS + more * life, MAILS + more * (life + 1)):
                    desk.deliver(number)
                before = len(done)
                while len(done) < before + 5 and not all_done.wait(0.01):
                    pass  # so that commands are under way when the desk is killed
                process.kill()
        with desk.serving():
            assert all_done.wait(BOUND_SECONDS)

    done = at_once(desk, plan(Random(seed())), meanwhile)
    assert find_running(desk.home / "cases.db") is None
    assert desk.command("run").code == DONE

    prove(desk, done, more * kills)
    with capsys.disabled():
        told(done, f"while the desk is killed {kills} times")
