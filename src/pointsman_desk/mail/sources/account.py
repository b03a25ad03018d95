"""The configuration of a mailbox on a mail server."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pointsman_desk.errors import MailboxRefused, SecretMissing
from pointsman_desk.mail.access import is_loopback, read_secret

Seconds = Annotated[float, Field(gt=0, le=28 * 60)]  # a server may end an IDLE after 29 minutes (RFC 2177)


class Account(BaseModel):
    """How to open a mailbox by IMAP.

    The configuration contains no password and no OAuth token for XOAUTH2: `password_env` and `token_env` name environment variables,
    and `token_command` is a program that prints a new token. `tls` may be "none" only for a server on this machine. `poll_seconds` is the
    time between checks if the server announces nothing, and `timeout_seconds` the longest time for an answer.
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
        if self.tls == "none" and not is_loopback(self.host):
            raise ValueError(f'tls = "none" would read mails from {self.host} unencrypted; use "tls" or "starttls"')
        return self

    @property
    def place(self) -> str:
        """The identity of the mailbox: a bookmark of another mailbox does not count for this one."""
        return f"{self.username}@{self.host}:{self.port_number}/{self.folder}"

    @property
    def port_number(self) -> int:
        """The port; the default is the protocol's (RFC 8314, 3.2)."""
        return self.port or (993 if self.tls == "tls" else 143)

    def secret(self) -> str:
        """Return the password or the token, read on each call and not stored. Waits for `token_command`. Raises MailboxRefused."""
        try:
            return read_secret(self.password_env or self.token_env, self.token_command, self.timeout_seconds)
        except SecretMissing as missing:
            raise MailboxRefused(f"mailbox {self.name}: {missing}") from None
