"""What the desk sends elsewhere: webhooks and traces that its settings name, without a word of a customer."""

import base64
import json
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

import interpreter
from pointsman_desk.cli.main import app
from pointsman_desk.config import SAMPLE

RUN = """
from pointsman.runtime import watchdog
from pointsman_desk.cli.main import main
watchdog.BLOCKED_SECONDS = 300.0  # or a machine that stands still is told of as a node that blocks
main()
"""
SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()


class Received(HTTPServer):
    """A receiver on this machine, which keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.bodies: dict[str, list[bytes]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: Received

    def do_POST(self) -> None:
        self.server.bodies.setdefault(self.path, []).append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(name="receiver")
def _receiver() -> Iterator[Received]:
    with Received() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def desk_in(folder: Path, *settings: str) -> Path:
    (folder / "mailbox").mkdir()
    (folder / "mailbox" / "1.eml").write_bytes((SAMPLE / "mails" / "10-refund-en.eml").read_bytes())
    file = folder / "desk.toml"
    file.write_text("\n".join(['home = "desk"', 'mailbox = "mailbox"', *settings]), encoding="utf-8")
    return file


def webhook_to(url: str, folder: Path) -> str:
    (folder / "hooks.toml").write_text(f'[[webhook]]\nname = "pager"\nurl = "{url}/hook"\nsecret = "PAGER"\n', encoding="utf-8")
    return 'webhooks = "hooks.toml"'


def command(file: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*words, "--config", str(file)])
    return done.exit_code, " ".join((done.stdout + done.stderr).split())


def test_a_run_tells_the_webhooks_and_the_collector_of_a_mail_that_waits(
    tmp_path: Path, receiver: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGER", SECRET)
    file = desk_in(tmp_path, webhook_to(receiver.url, tmp_path), f'telemetry = "{receiver.url}"')

    ended = interpreter.run("-c", RUN, "run", "--config", file)  # what sends metrics has a thread, which ends with its process

    posted = [json.loads(body) for body in receiver.bodies["/hook"]]
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [(one["type"], one["data"]["case"], one["data"]["step"]) for one in posted] == [("task.opened", 1, "approve")]
    traces = b"".join(receiver.bodies["/v1/traces"])
    assert b"support-mail" in traces
    assert b"pointsman.cases" in b"".join(receiver.bodies["/v1/metrics"])
    assert (b"shelf" in traces, b"peter" in traces.lower()) == (False, False)


def test_what_a_command_does_alone_is_told_by_the_next_run(tmp_path: Path, receiver: Received, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", SECRET)
    file = desk_in(tmp_path, webhook_to(receiver.url, tmp_path))
    command(file, "run")
    monkeypatch.delenv("PAGER")  # whoever decides needs no secret of a webhook

    assert command(file, "edit", "1", "--text", "We will look into it.", "--yes")[0] == 0
    before = len(receiver.bodies["/hook"])
    monkeypatch.setenv("PAGER", SECRET)
    command(file, "run")

    assert (before, len(receiver.bodies["/hook"])) == (1, 2)


def test_what_a_webhook_has_given_up_is_told_by_doctor_and_sent_again_on_command(
    tmp_path: Path, receiver: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGER", SECRET)
    file = desk_in(tmp_path, webhook_to(receiver.url, tmp_path))
    command(file, "run")
    gap = json.dumps([["", "1000000", 2, 0.0, 1e12, "127.0.0.1 answered with 503; look at its log.", False]])
    with closing(sqlite3.connect(tmp_path / "desk" / "cases.db")) as cases, cases:
        cases.execute("INSERT INTO meta (name, value) VALUES ('gaps webhook pager', ?)", (gap,))
    before, told = len(receiver.bodies["/hook"]), command(file, "doctor")

    asked = command(file, "redeliver", "webhook pager")
    command(file, "run")

    assert told[0] == 1
    assert "webhook pager has given up 2 messages (127.0.0.1 answered with 503; look at its log); mend the receiver, and" in told[1]
    assert asked == (0, "2 messages of webhook pager will be sent again.")
    assert (before, len(receiver.bodies["/hook"])) == (1, 2)
    assert "given up" not in command(file, "doctor")[1]
    assert "has given up nothing" in command(file, "redeliver", "webhook pager")[1]


@pytest.mark.parametrize("words", [("run",), ("doctor",)], ids=" ".join)
@pytest.mark.parametrize(
    ("file", "told"),
    [("", "cannot be read as TOML"), ("[[webhook]]\nname = 'a'\nurl = 'mailto:a'\nsecret = 'PAGER'", "is not an address"),
     ("[[webhook]]\nname = 'a'\nurl = 'https://a.example'\nsecret = 'NONE'", "NONE has no secret")],
)  # fmt: skip
def test_what_is_wrong_with_webhooks_is_said_in_a_sentence_before_a_mail_is_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], file: str, told: str
) -> None:
    monkeypatch.setenv("PAGER", SECRET)
    config = desk_in(tmp_path, 'webhooks = "hooks.toml"')
    if file:
        (tmp_path / "hooks.toml").write_text(file, encoding="utf-8")

    code, output = command(config, *words)

    assert code == 1
    assert told in output
    assert not (tmp_path / "desk" / "cases.db").exists()


def test_a_missing_package_and_a_wrong_address_of_the_collector_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = command(desk_in(tmp_path, 'telemetry = "collector:4318"'), "doctor")
    (tmp_path / "desk.toml").write_text('home = "desk"\ntelemetry = "http://127.0.0.1:9"', encoding="utf-8")
    monkeypatch.setitem(sys.modules, "pointsman.integrations.opentelemetry", None)

    missing = command(tmp_path / "desk.toml", "doctor")

    assert wrong[0] == missing[0] == 1
    assert "telemetry: 'collector:4318' is not an address such as http://collector.shop.example:4318" in wrong[1]
    assert "pip install 'pointsman[otel]'" in missing[1]
