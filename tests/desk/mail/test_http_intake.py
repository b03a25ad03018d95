"""Mails that a program hands in by HTTP: who has no key gets none in, and who has one learns what became of it."""

import asyncio
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import interpreter
from pointsman import Busy, Started, SystemClock
from pointsman.testing.clock import ManualClock
from pointsman_desk.config import SAMPLE
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.http import SIGNATURE, TIMESTAMP, TOLERANCE_SECONDS, intake, signature_of
from pointsman_desk.mail.tree import MAIL_MAX_BYTES
from ports import free_ports

MAIL = (SAMPLE / "mails" / "01-article.eml").read_bytes()
SECRET = b"0123456789abcdef0123456789abcdef"
NOW = 1_793_000_000
BOUND_SECONDS = 120.0


def signed(raw: bytes, *, at: int = NOW, secret: bytes = SECRET) -> dict[str, str]:
    return {TIMESTAMP: str(at), SIGNATURE: signature_of(raw, str(at), secret)}


class Desk:
    """Takes every mail in, and knows it the second time; or has no room."""

    def __init__(self, *, busy: bool = False) -> None:
        self.taken: list[bytes] = []
        self.busy = busy

    async def hand_over(self, mails: Sequence[Found]) -> list[Started | None]:
        [found] = mails
        assert found.raw is not None
        if self.busy:
            raise Busy("there is no room", retry_after=2.5)
        self.taken.append(found.raw)
        return [Started(1, duplicate=self.taken.count(found.raw) > 1)]


def answers(desk: Desk, *requests: tuple[bytes, dict[str, str]]) -> list[httpx.Response]:
    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(intake(desk.hand_over, SECRET, ManualClock(NOW)))
        async with httpx.AsyncClient(transport=transport, base_url="http://desk.example") as client:
            return [await client.post("/mail", content=raw, headers=headers) for raw, headers in requests]

    return asyncio.run(ask())


def test_a_signed_mail_is_taken_in_and_the_second_time_it_is_known() -> None:
    desk = Desk()

    first, again = answers(desk, (MAIL, signed(MAIL)), (MAIL, signed(MAIL, at=NOW + 60)))

    assert (first.status_code, first.json()) == (202, {"case": 1, "duplicate": False})
    assert (again.status_code, again.json()) == (200, {"case": 1, "duplicate": True})
    assert desk.taken == [MAIL, MAIL]


@pytest.mark.parametrize(
    ("raw", "headers", "status"),
    [
        pytest.param(MAIL, {}, 401, id="unsigned"),
        pytest.param(MAIL, signed(MAIL, secret=b"another key that is long enough.."), 401, id="another key"),
        pytest.param(MAIL + b"PS", signed(MAIL), 401, id="another mail"),
        pytest.param(MAIL, {**signed(MAIL), TIMESTAMP: str(NOW + 1)}, 401, id="another time"),
        pytest.param(MAIL, signed(MAIL, at=NOW - int(TOLERANCE_SECONDS) - 1), 401, id="too old"),
        pytest.param(MAIL, signed(MAIL, at=NOW + int(TOLERANCE_SECONDS) + 1), 401, id="from the future"),
        pytest.param(MAIL, {**signed(MAIL), TIMESTAMP: "9" * 5_000}, 401, id="no time at all"),
        pytest.param(b"", signed(b""), 400, id="no mail"),
        pytest.param(b"x" * (MAIL_MAX_BYTES + 1), signed(b"x" * (MAIL_MAX_BYTES + 1)), 413, id="too long"),
    ],
)
def test_what_is_not_signed_by_the_key_and_now_is_not_taken_in(raw: bytes, headers: dict[str, str], status: int) -> None:
    desk = Desk()

    [answer] = answers(desk, (raw, headers))

    assert answer.status_code == status
    assert desk.taken == []


def test_a_desk_without_room_says_when_to_come_again() -> None:
    [answer] = answers(Desk(busy=True), (MAIL, signed(MAIL)))

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")


def test_a_desk_that_takes_too_long_says_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Held(Desk):
        async def hand_over(self, mails: Sequence[Found]) -> list[Started | None]:
            await asyncio.Event().wait()
            return []

    monkeypatch.setattr("pointsman_desk.mail.sources.http.TAKEN_SECONDS", 0.0)

    [answer] = answers(Held(), (MAIL, signed(MAIL)))

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")


def serving(folder: Path, port: int) -> list[str]:
    file = folder / "desk.toml"
    file.write_text(f'home = "{folder / "desk"}"\n[http]\nport = {port}\nsecret_env = "INTAKE_KEY"\n', encoding="utf-8")
    return ["-m", "pointsman_desk.cli.main", "serve", "--port", "0", "--json", "--config", str(file)]


@contextmanager
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    [port] = free_ports(1)
    with subprocess.Popen([sys.executable, *serving(folder, port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()  # it has looked around once, so it listens
            yield process, port
        finally:
            process.kill()


def post(port: int, raw: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND_SECONDS)
    try:
        connection.request("POST", "/mail", raw, headers)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if answer.status < 400 else body
    finally:
        connection.close()


def test_a_desk_that_is_running_answers_when_the_mail_has_its_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTAKE_KEY", SECRET.decode())
    now = int(SystemClock().now())

    with running(tmp_path) as (process, port):
        told = [post(port, MAIL, signed(MAIL, at=now)), post(port, MAIL, signed(MAIL, at=now)), post(port, MAIL, {})]
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=BOUND_SECONDS)

    assert [status for status, _ in told] == [202, 200, 401]
    assert told[0][1]["case"] == told[1][1]["case"] == 1
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in said


@pytest.mark.parametrize(("secret", "told"), [("", "INTAKE_KEY"), ("short", "openssl rand")])
def test_a_desk_without_a_good_key_does_not_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str, told: str) -> None:
    monkeypatch.setenv("INTAKE_KEY", secret)

    done = interpreter.run(*serving(tmp_path, *free_ports(1)))

    assert done.returncode == 1
    assert told in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
