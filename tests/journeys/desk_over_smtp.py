"""A desk that sends by SMTP, each of its commands a process of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import interpreter
from smtp_faults import MailServer

ARCHIVE = "support+sent@haus-und-hof.example"


class CommandedDesk:
    """One with a mail to answer; `mailbox` takes more, and `archive` the copies of its replies where there is one."""

    def __init__(self, folder: Path, server: MailServer, mail: bytes, *, archive: bool = False) -> None:
        self.server, self.mailbox, self.archive = server, folder / "mailbox", folder / "archive"
        self.mailbox.mkdir(parents=True)
        (self.mailbox / "1.eml").write_bytes(mail)
        copies = f'archive = "{ARCHIVE}"\narchive_mailbox = "{self.archive}"\n' if archive else ""
        self.file = folder / "desk.toml"
        self.file.write_text(
            f'home = "{folder / "desk"}"\nmailbox = "{self.mailbox}"\n'
            f'[smtp]\nhost = "127.0.0.1"\nport = {server.port}\ntls = "none"\n{copies}',
            encoding="utf-8",
        )

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        wide = os.environ | {"COLUMNS": "200"}  # no word of an answer is broken over two lines
        return interpreter.run(*self._arguments(*words)[1:], env=wide)

    def _arguments(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "pointsman_desk.cli.main", *words, "--config", str(self.file)]

    def approve_and_die(self) -> None:
        """Approve the first case, and be killed when the server has taken the reply and is about to say so."""
        with subprocess.Popen(self._arguments("approve", "1", "--yes", "--by", "anna"), stdout=subprocess.DEVNULL) as desk:
            self.server.reached = lambda at: desk.kill() if at == "taken" else None
        self.server.reached = lambda at: None
        assert desk.returncode == -signal.SIGKILL

    def got(self, address: str) -> list[bytes]:
        """The mails that the server took for an address."""
        return [content for _, recipients, content in self.server.taken if address in recipients]

    def cases(self) -> Any:
        return json.loads(self.command("cases", "--json").stdout)
