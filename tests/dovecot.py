"""A mail server of a test's own: Dovecot, as an ordinary user, in one folder, on ports that were free.

Any user name has a mailbox, empty at first; the password of all is `PASSWORD`. Mails come in by LMTP.
"""

import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from ports import free_ports
from tiers import program

PASSWORD = "secret"
READY_SECONDS = 300.0  # a slow machine has started it by then
POLL_SECONDS = 0.01
NOBODY = 65_534  # Dovecot's workers refuse to be root

COMMON = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
auth_failure_delay = 0
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 0
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    {address} = 127.0.0.1
    port = {lmtp}
  }}
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
ssl = yes
mail_max_userip_connections = 100
"""
OF_2_3 = """
auth_mechanisms = plain login xoauth2
disable_plaintext_auth = no
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
mail_location = maildir:{folder}/mail/%u
mail_home = {folder}/mail/%u
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/mail/%u
}}
"""
OF_2_4 = """
auth_mechanisms = plain login
auth_allow_cleartext = yes
ssl_server_cert_file = {folder}/cert.pem
ssl_server_key_file = {folder}/key.pem
mail_driver = maildir
mail_home = {folder}/mail/%{{user}}
mail_path = {folder}/mail/%{{user}}
mail_uid = {user}
mail_gid = {group}
passdb static {{
  password = {password}
}}
userdb static {{
  fields {{
    uid = {user}
    gid = {group}
    home = {folder}/mail/%{{user}}
  }}
}}
"""


class Dovecot:
    """Started and stopped like a server that a customer has; `imap`, `imaps` and `lmtp` are its ports, `certificate` vouches for it.

    `takes_tokens` says whether the password opens a mailbox as a token, too: newer ones want a server that they ask about tokens.
    """

    def __init__(self) -> None:
        self._program = program("dovecot")
        self.folder = Path(tempfile.mkdtemp(prefix="dovecot-"))  # a short path: sockets have no room for a long one
        self.imap, self.imaps, self.lmtp = free_ports(3)
        self.certificate = self.folder / "cert.pem"
        self._running: subprocess.Popen[bytes] | None = None
        for name in ("run", "mail", "state"):
            (self.folder / name).mkdir()
        make_key = [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        files = ["-keyout", self.folder / "key.pem", "-out", self.certificate]
        subprocess.run([*make_key, *names, *files], check=True, capture_output=True)
        version = subprocess.run([self._program, "--version"], check=True, capture_output=True, text=True).stdout
        is_new = tuple(map(int, re.findall(r"\d+", version)[:2])) >= (2, 4)  # its configuration is another language
        self.takes_tokens = not is_new
        (self.folder / "dovecot.conf").write_text(self._configuration(is_new), encoding="utf-8")
        if os.geteuid() == 0:
            for path in [self.folder, *self.folder.rglob("*")]:
                os.chown(path, NOBODY, NOBODY)

    def _configuration(self, is_new: bool) -> str:
        head = "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n" if is_new else ""
        user, group = ("nobody", "nogroup") if os.geteuid() == 0 else (_told("id", "-un"), _told("id", "-gn"))
        text = head + COMMON + (OF_2_4 if is_new else OF_2_3)
        return text.format(
            folder=self.folder, user=user, group=group, password=PASSWORD, imap=self.imap, imaps=self.imaps, lmtp=self.lmtp,
            address="listen" if is_new else "address",
        )  # fmt: skip

    def start(self) -> None:
        """Start it, and return when it takes mails in and gives them out."""
        as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        with (self.folder / "output").open("ab") as output:
            self._running = subprocess.Popen(
                [self._program, "-F", "-c", self.folder / "dovecot.conf"],
                stdout=output, stderr=output, start_new_session=True, **as_nobody,
            )  # fmt: skip
        until = time.monotonic() + READY_SECONDS
        while not all(map(_listens, (self.imap, self.lmtp))):
            assert self._running.poll() is None, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """End it as a power failure does: nobody is told anything."""
        assert self._running is not None
        os.killpg(self._running.pid, signal.SIGKILL)
        self._running.wait()

    def close(self) -> None:
        """End it, and take its folder away."""
        if self._running is not None and self._running.poll() is None:
            self.kill()
        shutil.rmtree(self.folder)

    def deliver(self, user: str, mails: Iterable[bytes]) -> None:
        """Have these mails delivered to a mailbox."""
        with smtplib.LMTP("127.0.0.1", self.lmtp) as lmtp:
            for mail in mails:
                lmtp.sendmail("sender@customer.example", [user], mail)

    def renumber(self, user: str) -> None:
        """Make the server forget how it numbered the mails: the mailbox gets another UIDVALIDITY."""
        for pattern in ("dovecot-uid*", "dovecot.*"):
            for file in (self.folder / "mail" / user).glob(pattern):
                file.unlink()

    def files(self, user: str) -> list[Path]:
        """The mails of a mailbox; a name shows the flags behind its `:2,`."""
        return [file for room in ("new", "cur") for file in (self.folder / "mail" / user / room).iterdir()]

    def said(self) -> str:
        """What it had to say, for whoever looks for the reason."""
        return "\n".join((self.folder / name).read_text() for name in ("output", "dovecot.log") if (self.folder / name).exists())


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=READY_SECONDS):
            return True
    except OSError:
        return False


def _told(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
