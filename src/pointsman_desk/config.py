"""The desk's configuration: one TOML file, whose problems are all reported at once."""

import os
import re
import tomllib
from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from pointsman import is_url, postgres_place
from pointsman_desk.case import Intent
from pointsman_desk.errors import ConfigInvalid
from pointsman_desk.mail.automatic import plain
from pointsman_desk.mail.compose import is_address
from pointsman_desk.mail.forms import Form
from pointsman_desk.mail.sources.account import Account
from pointsman_desk.mail.transports.relay import Relay
from pointsman_desk.mail.transports.resend import ResendAccount

SAMPLE = Path(__file__).parent / "sample"
FILE_NAME = "desk.toml"
REASONS = ("Answered by telephone", "Spam or a scam", "Not for us", "A duplicate of another mail", "The customer took it back")
SECRET_MIN = 32  # characters: 128 bits even in hexadecimal digits
SEND_SECONDS = 60.0  # for an outbox on a slow disk
SEND_MARGIN_SECONDS = 15.0  # longer than the transport's own timeout, so that the phase of a failure is known

_SAMPLE_EXCHANGER = "mx.haus-und-hof.example"  # writes Authentication-Results into the sample mails
_AUTHSERV = re.compile(r"[A-Za-z0-9._-]{1,253}")  # a host's name or `microsoft365`


class PriceConfig(BaseModel):
    """The price of a million input tokens and a million output tokens, in the currency of the budgets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Annotated[Decimal, Field(ge=0)]
    output: Annotated[Decimal, Field(ge=0)]


class ModelConfig(BaseModel):
    """A language model.

    `kind` "openai" is any server with OpenAI's chat completions at `base_url`: Ollama, vLLM, llama.cpp, LM Studio, or OpenAI itself if
    there is no `base_url`. "pydantic-ai" is a model by its Pydantic AI name, with the key in the provider's own environment variable.
    `reasoning` is for OpenAI's reasoning models, which take no temperature. `json_mode` and `extra` are as in
    `pointsman.models.OpenAICompatible`. The key is in the environment variable `api_key_env`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(min_length=1)]
    kind: Literal["openai", "pydantic-ai"] = "openai"
    base_url: str | None = None
    api_key_env: str | None = None
    price: PriceConfig | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=3_600)] = 60.0
    max_tokens: Annotated[int, Field(ge=1)] = 2_048
    reasoning: bool = False
    json_mode: Literal["schema", "object", "prompt"] = "schema"
    extra: dict[str, Any] = {}

    @model_validator(mode="after")
    def _settings_are_of_its_kind(self) -> Self:
        foreign = self.model_fields_set & {"base_url", "api_key_env", "reasoning", "json_mode", "extra"}
        if self.kind == "pydantic-ai" and foreign:
            raise ValueError(f'{", ".join(sorted(foreign))}: valid only for models of kind "openai"; remove it')
        return self


class BudgetConfig(BaseModel):
    """What the models may cost or use, per mail and per day (UTC). When it is spent, the desk works by rules."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    case_cost: Annotated[Decimal, Field(gt=0)] | None = None
    case_tokens: Annotated[int, Field(gt=0)] | None = None
    day_cost: Annotated[Decimal, Field(gt=0)] | None = None
    day_tokens: Annotated[int, Field(gt=0)] | None = None


class HttpConfig(BaseModel):
    """The HTTP endpoint for raw mails, for example from a provider's webhook. `secret_env` names the environment variable with the key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)]
    secret_env: str

    @property
    def secret(self) -> bytes:
        """Return the key that signs the mails, read on each call and not stored. Raises ConfigInvalid."""
        secret = os.environ.get(self.secret_env, "")
        if len(secret) < SECRET_MIN:
            raise ConfigInvalid(
                f"{self.secret_env} must hold a key of {SECRET_MIN} characters or more; create one with `openssl rand -hex 32`."
            )
        return secret.encode()


class SignInConfig(BaseModel):
    """How people sign in to the pages, apart from the users with a password (`pointsman users`).

    `proxy` is a header and the address of the proxy that names in it the person whom it has signed in. `oidc` is the issuer of an OpenID
    Connect provider and the desk's name there; `oidc_secret_env` names the environment variable with the secret that it gave the desk.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    proxy: tuple[str, str] | None = None
    oidc: tuple[str, str] | None = None
    oidc_secret_env: str = ""

    @property
    def oidc_secret(self) -> str:
        """Return the secret, read on each call and not stored."""
        return os.environ.get(self.oidc_secret_env, "")


class ConversationsConfig(BaseModel):
    """How answers find their case.

    They always do by the Message-ID that they answer. `signs_addresses` also gives each reply a sender address with a tag after a plus
    sign, which your mail server must deliver to the same mailbox. `signs_subjects` adds a tag to the subject. Senders from a domain in
    `organisations` may continue a colleague's conversation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    signs_addresses: bool = False
    signs_subjects: bool = False
    organisations: tuple[Annotated[str, Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")], ...] = ()


class FollowUpConfig(BaseModel):
    """How many days a case waits for the customer's answer to a reply (0: it ends with the reply), and when it reminds the desk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wait_days: Annotated[float, Field(ge=0, le=366)] = 0
    remind_days: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _reminds_before_the_end(self) -> Self:
        if self.remind_days is not None and self.remind_days >= self.wait_days:
            raise ValueError("remind_days must be less than wait_days; lower it or remove it")
        return self


class FormConfig(BaseModel):
    """A web form. Its mails come from `sender` (an address, or "@" and a domain) and count as the customer's.

    The customer's address is in Reply-To, or after the text `customer_line`, such as "E-Mail:", at the beginning of a line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sender: str
    customer_line: Annotated[str, Field(min_length=1, max_length=100)] | None = None

    @field_validator("sender")
    @classmethod
    def _is_an_address_or_a_domain(cls, sender: str) -> str:
        if not is_address(f"form{sender}" if sender.startswith("@") else sender):
            raise ValueError(f"{sender!r} is neither an address such as form@shop.example nor a domain such as @forms.example")
        return sender


class LimitsConfig(BaseModel):
    """The limits of automatic replies: per hour for a case, and per day to an address.

    A sender of more than `mails_minute`, `mails_five_minutes` or `mails_hour` mails gets no automatic reply.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine_case_hour: Annotated[int, Field(ge=0)] = 1
    machine_address_day: Annotated[int, Field(ge=0)] = 3
    mails_minute: Annotated[int, Field(ge=1, le=10_000)] = 50
    mails_five_minutes: Annotated[int, Field(ge=1, le=10_000)] = 120
    mails_hour: Annotated[int, Field(ge=1, le=10_000)] = 600


class ApprovalConfig(BaseModel):
    """What people decide with. `reasons` are offered to close a mail without a reply.

    A reply about one of the intents in `four_eyes` leaves when two different people have approved the same bytes. A mail is assigned to the `lead`
    when a person escalates it, or when it has waited for `lead_hours`. The desk reminds of a mail that has waited for `remind_hours`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    four_eyes: tuple[Intent, ...] = ()
    lead: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    lead_hours: Annotated[float, Field(gt=0, le=720)] = 24  # a day: customers expect an answer on the next one
    remind_hours: Annotated[float, Field(gt=0, le=720)] | None = None
    reasons: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(max_length=20)] = REASONS

    @model_validator(mode="after")
    def _reminds_before_the_lead_decides(self) -> Self:
        if self.remind_hours is not None and self.lead is not None and self.remind_hours >= self.lead_hours:
            raise ValueError("remind_hours must be less than lead_hours; lower it or remove it")
        return self


class SummaryConfig(BaseModel):
    """A mail to the addresses `to`, once a day `at` a time in an IANA time `zone`, about what waits. `pages` is where `serve` answers, for links."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)]
    at: time = time(8)
    zone: str = "UTC"
    pages: Annotated[str, Field(pattern=r"^https?://[!-~]+$")] = "http://127.0.0.1:8480"

    @field_validator("to")
    @classmethod
    def _are_addresses(cls, to: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := next((one for one in to if not is_address(one)), None):
            raise ValueError(f"{wrong!r} is not a single plain address such as team@shop.example")
        return to

    @field_validator("zone")
    @classmethod
    def _is_known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(
                f"{zone!r} is not a time zone known here; name one such as Europe/Berlin, or install the package tzdata"
            ) from None
        return zone


class DeskConfig(BaseModel):
    """Where the desk finds its mails, stores its cases, and how it sends.

    `home` contains the cases and the outbox, and the shop and the policy unless these are set. With `database`, the URL of a PostgreSQL
    database, the cases are there, and other desks may share them. `mailbox` is a maildir, a folder of
    .eml files or an mbox file; `mailboxes` are on mail servers; `http` takes mails from programs. With `mailboxes` or `http`, `mailbox`
    has no default. Replies come from `address` and `name`; with `quotes` they quote the customer's text. `authserv` is the name that
    your mail server writes into Authentication-Results (RFC 8601), or `microsoft365`. A sender that it does not confirm gets no data of
    an order; without `authserv`, no sender does. Without `smtp` and `resend`, replies go into a maildir. `forms` send mails for
    customers. `summary` is a mail about what waits. `telemetry` is the address of an OpenTelemetry collector (OTLP over HTTP), and
    `webhooks` a file that declares webhooks. The desk asks `models` in order, each when the one before it fails, within the `budget`;
    without models it works offline, by rules. Relative paths start at the file's folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Path("var/desk")
    database: str | None = None
    mailbox: Path | None = SAMPLE / "mails"
    mailboxes: tuple[Account, ...] = ()
    address: str = "support@haus-und-hof.example"
    name: Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")] = ""
    quotes: bool = True
    authserv: str | None = None
    policy: Path | None = None
    shop: Path | None = None
    smtp: Relay | None = None
    resend: ResendAccount | None = None
    http: HttpConfig | None = None
    sign_in: SignInConfig = SignInConfig()
    models: tuple[ModelConfig, ...] = ()
    budget: BudgetConfig = BudgetConfig()
    conversations: ConversationsConfig = ConversationsConfig()
    forms: tuple[FormConfig, ...] = ()
    follow_up: FollowUpConfig = FollowUpConfig()
    limits: LimitsConfig = LimitsConfig()
    approval: ApprovalConfig = ApprovalConfig()
    summary: SummaryConfig | None = None
    telemetry: str | None = None
    webhooks: Path | None = None
    concurrency: Annotated[int, Field(ge=1, le=1_024)] = 16  # mails at the same time; a local model rarely handles more

    @model_validator(mode="before")
    @classmethod
    def _servers_or_sample(cls, written: Any) -> Any:
        has_others = isinstance(written, dict) and (written.get("mailboxes") or written.get("http"))
        return {"mailbox": None, **written} if has_others else written

    @model_validator(mode="after")
    def _one_way_out(self) -> Self:
        if self.smtp is not None and self.resend is not None:
            raise ValueError("smtp and resend are both set; remove one of them")
        return self

    @model_validator(mode="after")
    def _is_not_its_own_team(self) -> Self:
        if self.summary is not None and any(plain(one) == plain(self.address) for one in self.summary.to):
            raise ValueError(f"summary.to: {self.address} is the desk's own address, where it takes in mails; name the team's")
        return self

    @field_validator("database")
    @classmethod
    def _is_a_url(cls, database: str | None) -> str | None:
        if database is not None and not is_url(database):
            raise ValueError(
                "it is not a URL such as postgresql://desk@db.shop.example/desk; without it, the cases are in a file in `home`"
            )
        return database

    @field_validator("telemetry")
    @classmethod
    def _is_an_endpoint(cls, telemetry: str | None) -> str | None:
        address = urlsplit(telemetry or "http://none.invalid")
        if address.scheme not in {"http", "https"} or not address.hostname:
            raise ValueError(f"{telemetry!r} is not an address such as http://collector.shop.example:4318")
        return telemetry

    @field_validator("mailboxes")
    @classmethod
    def _have_names(cls, mailboxes: tuple[Account, ...]) -> tuple[Account, ...]:
        names = [account.name.lower() for account in mailboxes]  # a name is also a file name
        if len(set(names)) < len(names):
            raise ValueError("two mailboxes have the same name; rename one")
        return mailboxes

    @field_validator("address")
    @classmethod
    def _is_one_address(cls, address: str) -> str:
        if not is_address(address):
            raise ValueError(f"{address!r} is not a single plain address such as support@shop.example")
        return address

    @field_validator("authserv")
    @classmethod
    def _is_a_name(cls, authserv: str | None) -> str | None:
        if authserv is not None and not _AUTHSERV.fullmatch(authserv):
            raise ValueError(f"{authserv!r} is not a server name such as mx.shop.example; copy it from Authentication-Results")
        return authserv

    @property
    def exchanger(self) -> str:
        """The server whose results count: `authserv`, or the sample's own for the sample shop, or "" for none."""
        sample = self.mailbox == SAMPLE / "mails" and not self.mailboxes and self.shop is None
        return self.authserv or (_SAMPLE_EXCHANGER if sample else "")

    @property
    def web_forms(self) -> tuple[Form, ...]:
        """The web forms."""
        return tuple(Form(one.sender.lower(), one.customer_line) for one in self.forms)

    @property
    def send_seconds(self) -> float:
        """For how many seconds sending a reply may take. A stopping desk waits as long, so that a reply being sent does not end in doubt."""
        way_out = self.smtp or self.resend
        return way_out.longest_seconds + SEND_MARGIN_SECONDS if way_out is not None else SEND_SECONDS

    @property
    def cases_file(self) -> Path:
        """The file with the cases of a desk without a `database`. Beside it are the accounts of the pages and the address of a running desk."""
        return self.home / "cases.db"

    @property
    def cases(self) -> Path | str:
        """Where the cases are: a file, or the URL of a database."""
        return self.database or self.cases_file

    @property
    def cases_shown(self) -> str:
        """Where the cases are, in words for a person: without a password. Raises StoreError."""
        return str(self.cases_file) if self.database is None else postgres_place(self.database).shown

    @property
    def outbox(self) -> Path:
        """The maildir for the replies."""
        return self.home / "outbox"

    @property
    def secret_file(self) -> Path:
        """The file with the key that signs the desk's mails, so that it recognises answers to them."""
        return self.home / "secret"

    @property
    def sent_file(self) -> Path:
        """The record of sent replies, which identifies the desk's cases."""
        return self.home / "sent.db"

    @property
    def guesses_file(self) -> Path:
        """The file with the wrong order numbers that senders gave."""
        return self.home / "guesses.db"

    @property
    def threads_file(self) -> Path:
        """The index of mails by Message-ID."""
        return self.home / "threads.db"

    def bookmark_of(self, account: Account) -> Path:
        """Return the file that says how far a mailbox was read."""
        return self.home / "mailboxes" / f"{account.name}.json"

    @property
    def policy_file(self) -> Path:
        """The policy file in use."""
        return self.policy or self.home / "policy.toml"

    @property
    def shop_file(self) -> Path:
        """The shop's database."""
        return self.shop or self.home / "shop.db"

    def under(self, folder: Path) -> Self:
        """Return the configuration with relative paths resolved against `folder`."""
        paths = {
            name: folder / value.expanduser()
            for name in ("home", "mailbox", "policy", "shop", "webhooks")
            if (value := getattr(self, name)) is not None
        }
        smtp = self.smtp.under(folder) if self.smtp is not None else None
        return self.model_copy(update={**paths, "smtp": smtp})


def load_config(file: Path | None = None) -> DeskConfig:
    """Read `file`, or desk.toml in this folder if it exists, or use the defaults. Raises ConfigInvalid with every problem."""
    if file is None:
        file = Path(FILE_NAME)
        if not file.is_file():
            return DeskConfig().under(Path.cwd())
    try:
        written = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        return DeskConfig.model_validate(written).under(file.absolute().parent)
    except OSError as error:
        raise ConfigInvalid(f"{file} cannot be read ({error.strerror}); name another file with --config.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{file} is not TOML: {error}.") from None
    except ValidationError as error:
        problems = "; ".join(map(_text_of, error.errors(include_url=False, include_input=False)))
        raise ConfigInvalid(f"{file} has {error.error_count()} problem{'s' * (error.error_count() > 1)}: {problems}.") from None


def _text_of(problem: ErrorDetails) -> str:
    key = ".".join(map(str, problem["loc"])) or "the file"
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown setting; remove it or correct its name"
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}"
