"""The configuration of the mail server for replies."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pointsman import NotSent
from pointsman_desk.errors import SecretMissing
from pointsman_desk.mail.access import is_loopback, read_secret
from pointsman_desk.mail.compose import is_address
from pointsman_desk.mail.sources.account import Account

TIMEOUT_MAX_SECONDS = 600.0  # the longest timeout of a phase in RFC 5321
ANSWER_SECONDS = 600.0  # RFC 5321, 4.5.3.2.6: a shorter timeout leads to duplicate mails or sends in doubt


class Relay(BaseModel):
    """How to send replies by a mail server.

    The configuration contains no password and no OAuth token for XOAUTH2: `password_env` and `token_env` name environment variables,
    and `token_command` is a program that prints a new token. `tls` may be "none" only for a server on this machine. `timeout_seconds`
    is for a mail up to its final dot, including token and login, and `answer_seconds` for the answer after the dot.

    `archive` is an address of yours that gets a copy of each reply, and `archive_mailbox` is where the copies arrive: a maildir, a
    folder, an mbox file, or a mailbox on a mail server. If the server did not answer, a copy there proves that the reply was sent. The
    desk looks for it `propagation_seconds` after it gave up the connection.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    tls: Literal["starttls", "tls", "none"] = "starttls"
    timeout_seconds: Annotated[float, Field(gt=0, le=TIMEOUT_MAX_SECONDS)] = 45.0
    answer_seconds: Annotated[float, Field(gt=0, le=3_600)] = ANSWER_SECONDS
    username: str | None = None
    password_env: str | None = None
    token_env: str | None = None
    token_command: tuple[str, ...] = ()
    archive: str | None = None
    archive_mailbox: Account | Path | None = None
    propagation_seconds: Annotated[float, Field(ge=0, le=86_400)] = 300.0

    @field_validator("archive")
    @classmethod
    def _is_one_address(cls, archive: str | None) -> str | None:
        if archive is not None and not is_address(archive):
            raise ValueError(f"{archive!r} is not a single plain address, such as support+sent@shop.example")
        return archive

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        if sum(map(bool, (self.password_env, self.token_env, self.token_command))) != (self.username is not None):
            raise ValueError("a username needs one of password_env, token_env and token_command; set both or neither")
        if self.tls == "none" and not is_loopback(self.host):
            raise ValueError(f'tls = "none" would send mails to {self.host} unencrypted; use "tls" or "starttls"')
        if (self.archive is None) != (self.archive_mailbox is None):
            raise ValueError("archive is the address of the copies, and archive_mailbox where they arrive; set both or neither")
        return self

    @property
    def port_number(self) -> int:
        """The port; the default is that of submission (RFC 8314, 3.3; RFC 6409), and on this machine that of SMTP."""
        return self.port or {"tls": 465, "starttls": 587, "none": 25}[self.tls]

    @property
    def longest_seconds(self) -> float:
        """The longest time for sending one mail."""
        return self.timeout_seconds + self.answer_seconds

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables for the login, by setting."""
        named = {"smtp.password_env": self.password_env, "smtp.token_env": self.token_env}
        return {setting: variable for setting, variable in named.items() if variable is not None}

    def under(self, folder: Path) -> Self:
        """Return the configuration with relative paths resolved against `folder`."""
        if not isinstance(self.archive_mailbox, Path):
            return self
        return self.model_copy(update={"archive_mailbox": folder / self.archive_mailbox.expanduser()})

    def secret(self) -> str:
        """Return the password or the token. Waits for `token_command`. Raises NotSent."""
        try:
            return read_secret(self.password_env or self.token_env, self.token_command, self.timeout_seconds)
        except SecretMissing as missing:
            raise NotSent(f"{self.host} cannot be used: {missing}") from None
