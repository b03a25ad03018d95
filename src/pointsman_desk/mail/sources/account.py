"""A mailbox on a mail server, as desk.toml names it."""

import ipaddress
import os
import subprocess
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pointsman_desk.errors import MailboxRefused

Seconds = Annotated[float, Field(gt=0, le=28 * 60)]  # a server may end an IDLE after 29 minutes (RFC 2177)


class Account(BaseModel):
    """How to open a mailbox by IMAP.

    The password, or an OAuth token for XOAUTH2, is never written here: `password_env` and `token_env` name environment
    variables, `token_command` is a program that prints a fresh token. `tls` may be "none" only for this very machine.
    `poll_seconds` is how long the mailbox is left alone when the server pushes nothing, `timeout_seconds` how long an answer may take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    tls: Literal["tls", "starttls", "none"] = "tls"
    username: Annotated[str, Field(min_length=1)]
    password_env: str | None = None
    token_env: str | None = None
    token_command: tuple[str, ...] = ()
    folder: Annotated[str, Field(min_length=1)] = "INBOX"
    poll_seconds: Seconds = 120.0
    timeout_seconds: Seconds = 30.0

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        if sum(map(bool, (self.password_env, self.token_env, self.token_command))) != 1:
            raise ValueError("name one of password_env, token_env and token_command")
        if self.tls == "none" and not _is_loopback(self.host):
            raise ValueError(f'tls = "none" would send the mails of {self.host} in the clear; say "tls" or "starttls"')
        return self

    @property
    def place(self) -> str:
        """Which mailbox it is, wherever it is named: what was seen of another one says nothing of this one."""
        return f"{self.username}@{self.host}:{self.port_number}/{self.folder}"

    @property
    def port_number(self) -> int:
        """The port: by default that of the protocol (RFC 8314, 3.2)."""
        return self.port or (993 if self.tls == "tls" else 143)

    def secret(self) -> str:
        """The password or the token, read when it is needed and kept nowhere. Raises MailboxRefused. Waits for `token_command`."""
        if self.token_command:
            return self._told_token()
        variable = self.password_env or self.token_env or ""
        secret = os.environ.get(variable)
        if not secret:
            raise MailboxRefused(f"mailbox {self.name}: the environment variable {variable} is not set; set it to the secret.")
        return secret

    def _told_token(self) -> str:
        program = self.token_command[0]
        try:
            done = subprocess.run(  # noqa: S603 - the owner of the configuration named the program, and no shell reads it
                self.token_command, capture_output=True, text=True, timeout=self.timeout_seconds, stdin=subprocess.DEVNULL, check=False
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            told = "it took too long" if isinstance(error, subprocess.TimeoutExpired) else str(error)
            raise MailboxRefused(f"mailbox {self.name}: the token_command {program} gave no token ({told}); mend it.") from None
        token = done.stdout.strip()
        if done.returncode or not token:
            raise MailboxRefused(f"mailbox {self.name}: the token_command {program} gave no token (code {done.returncode}); mend it.")
        return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
