"""The desk's configuration: one TOML file, every problem of it reported at once."""

import os
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from pointsman_desk.errors import ConfigInvalid
from pointsman_desk.mail.compose import is_address
from pointsman_desk.mail.forms import Form
from pointsman_desk.mail.sources.account import Account
from pointsman_desk.mail.transports.relay import Relay
from pointsman_desk.mail.transports.resend import ResendAccount

SAMPLE = Path(__file__).parent / "sample"
FILE_NAME = "desk.toml"
SECRET_MIN = 32  # characters: a key that nobody guesses, in hexadecimal digits too


_SAMPLE_EXCHANGER = "mx.haus-und-hof.example"  # who writes Authentication-Results into the sample mails
_AUTHSERV = re.compile(r"[A-Za-z0-9._-]{1,253}")  # a host's name or `microsoft365`


class PriceConfig(BaseModel):
    """What a million tokens cost, asked (`input`) and answered (`output`), in the currency of the budgets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Annotated[Decimal, Field(ge=0)]
    output: Annotated[Decimal, Field(ge=0)]


class ModelConfig(BaseModel):
    """A language model to ask.

    `kind` "openai" is whatever speaks OpenAI's chat completions at `base_url`: OpenAI itself where none is named, Ollama,
    vLLM, llama.cpp, LM Studio; "pydantic-ai" is a model by the name that Pydantic AI gives it, whose provider's own
    environment variable holds the key. `reasoning` is for OpenAI's models that think, and take no temperature. `json_mode`
    and `extra` are those of `pointsman.models.OpenAICompatible`. The key comes from the variable that `api_key_env` names.
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
            raise ValueError(f'{", ".join(sorted(foreign))}: only a model of the kind "openai" has that; leave it out')
        return self


class BudgetConfig(BaseModel):
    """What the models may cost or use: for a mail, for a day (of UTC); where it is spent, the desk works by rules."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    case_cost: Annotated[Decimal, Field(gt=0)] | None = None
    case_tokens: Annotated[int, Field(gt=0)] | None = None
    day_cost: Annotated[Decimal, Field(gt=0)] | None = None
    day_tokens: Annotated[int, Field(gt=0)] | None = None


class HttpConfig(BaseModel):
    """Where raw mails may be handed in by HTTP, such as by a provider's webhook. `secret_env` names the variable with the key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)]
    secret_env: str

    @property
    def secret(self) -> bytes:
        """The key that signs the mails, read when it is needed and kept nowhere. Raises ConfigInvalid."""
        secret = os.environ.get(self.secret_env, "")
        if len(secret) < SECRET_MIN:
            raise ConfigInvalid(f"{self.secret_env} holds no key of {SECRET_MIN} characters or more; make one with `openssl rand -hex 32`.")
        return secret.encode()


class ConversationsConfig(BaseModel):
    """How answers find their case.

    They always do by the Message-ID that they answer. `signs_addresses` asks for them at an address with a mark after a
    plus, which your mail server must bring to the same mailbox; `signs_subjects` puts a mark behind the subject. Who writes
    from a domain of the `organisations` may go on with what a colleague began.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    signs_addresses: bool = False
    signs_subjects: bool = False
    organisations: tuple[Annotated[str, Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")], ...] = ()


class FollowUpConfig(BaseModel):
    """How long a case waits for the customer's answer to a reply, in days; 0 ends it with the reply. The desk is reminded in between."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wait_days: Annotated[float, Field(ge=0, le=366)] = 0
    remind_days: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _reminds_before_the_end(self) -> Self:
        if self.remind_days is not None and self.remind_days >= self.wait_days:
            raise ValueError("remind_days is not before the end of wait_days; make it less, or leave it out")
        return self


class FormConfig(BaseModel):
    """A web form: its mails come from `sender`, an address or "@" and a domain, and are the customer's.

    The customer stands in Reply-To, or behind the beginning of a line of the text, `customer_line`, such as "E-Mail:".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sender: str
    customer_line: Annotated[str, Field(min_length=1, max_length=100)] | None = None

    @field_validator("sender")
    @classmethod
    def _is_an_address_or_a_domain(cls, sender: str) -> str:
        if not is_address(f"form{sender}" if sender.startswith("@") else sender):
            raise ValueError(f"{sender!r} is neither an address, such as form@shop.example, nor a domain, such as @forms.example")
        return sender


class LimitsConfig(BaseModel):
    """What leaves without a person's look at most: replies in an hour for one case, and in a day to one address.

    Nor are mails answered so whose sender has written more than `mails_minute`, `mails_five_minutes` or `mails_hour`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine_case_hour: Annotated[int, Field(ge=0)] = 1
    machine_address_day: Annotated[int, Field(ge=0)] = 3
    mails_minute: Annotated[int, Field(ge=1, le=10_000)] = 50
    mails_five_minutes: Annotated[int, Field(ge=1, le=10_000)] = 120
    mails_hour: Annotated[int, Field(ge=1, le=10_000)] = 600


class DeskConfig(BaseModel):
    """Where the desk finds its mails, keeps its cases, and how it sends.

    `home` holds the database, the outbox, and the shop and the policy where no others are named. `mailbox` is a maildir, a folder of
    .eml files or an mbox file; `mailboxes` are those on mail servers, and `http` takes mails from programs: with these there is a
    `mailbox` only where it is named. `address` and `name` are whom replies come from; with `quotes` they have the customer's text
    below. `authserv` is the name under which your own mail exchanger writes Authentication-Results (RFC 8601), or `microsoft365`: a
    sender for whom it does not vouch learns nothing of an order, and without it every sender is one. Without `smtp` and `resend`
    replies go into a maildir. `forms` send mails for customers. `models` are asked in order, the next one where one fails, within the `budget`; without any, the desk
    works by rules, offline. Relative paths count from the file's folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Path("var/desk")
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
    models: tuple[ModelConfig, ...] = ()
    budget: BudgetConfig = BudgetConfig()
    conversations: ConversationsConfig = ConversationsConfig()
    forms: tuple[FormConfig, ...] = ()
    follow_up: FollowUpConfig = FollowUpConfig()
    limits: LimitsConfig = LimitsConfig()
    concurrency: Annotated[int, Field(ge=1, le=1_024)] = 16  # mails in hand at once; a local model seldom takes more

    @model_validator(mode="before")
    @classmethod
    def _servers_or_sample(cls, written: Any) -> Any:
        has_others = isinstance(written, dict) and (written.get("mailboxes") or written.get("http"))
        return {"mailbox": None, **written} if has_others else written

    @model_validator(mode="after")
    def _one_way_out(self) -> Self:
        if self.smtp is not None and self.resend is not None:
            raise ValueError("smtp and resend are two ways out; name one of them")
        return self

    @field_validator("mailboxes")
    @classmethod
    def _have_names(cls, mailboxes: tuple[Account, ...]) -> tuple[Account, ...]:
        names = [account.name.lower() for account in mailboxes]  # a name is that of a file, too
        if len(set(names)) < len(names):
            raise ValueError("two mailboxes have one name; give each its own")
        return mailboxes

    @field_validator("address")
    @classmethod
    def _is_one_address(cls, address: str) -> str:
        if not is_address(address):
            raise ValueError(f"{address!r} is not one plain address, such as support@shop.example")
        return address

    @field_validator("authserv")
    @classmethod
    def _is_a_name(cls, authserv: str | None) -> str | None:
        if authserv is not None and not _AUTHSERV.fullmatch(authserv):
            raise ValueError(f"{authserv!r} is no name that a mail server writes, such as mx.shop.example; copy it from the header field")
        return authserv

    @property
    def exchanger(self) -> str:
        """Whose word on a mail's origin counts: `authserv`, of the sample mails to the sample shop the sample's own, "" for nobody's."""
        sample = self.mailbox == SAMPLE / "mails" and not self.mailboxes and self.shop is None
        return self.authserv or (_SAMPLE_EXCHANGER if sample else "")

    @property
    def web_forms(self) -> tuple[Form, ...]:
        """The web forms, as mails are held against them."""
        return tuple(Form(one.sender.lower(), one.customer_line) for one in self.forms)

    @property
    def database(self) -> Path:
        """The file that holds the cases."""
        return self.home / "cases.db"

    @property
    def outbox(self) -> Path:
        """The maildir that takes the replies."""
        return self.home / "outbox"

    @property
    def secret_file(self) -> Path:
        """What the desk signs its mails with, so that it knows the answers to them."""
        return self.home / "secret"

    @property
    def departures_file(self) -> Path:
        """What left the desk, by which it knows its cases again."""
        return self.home / "sent.db"

    @property
    def guesses_file(self) -> Path:
        """Which order numbers senders have named that were not theirs."""
        return self.home / "guesses.db"

    @property
    def threads_file(self) -> Path:
        """The index of the mails by their Message-IDs."""
        return self.home / "threads.db"

    def bookmark_of(self, account: Account) -> Path:
        """The file that says how far a mailbox has been read."""
        return self.home / "mailboxes" / f"{account.name}.json"

    @property
    def policy_file(self) -> Path:
        """The policy that is in force."""
        return self.policy or self.home / "policy.toml"

    @property
    def shop_file(self) -> Path:
        """The shop's database."""
        return self.shop or self.home / "shop.db"

    def under(self, folder: Path) -> Self:
        """The same with relative paths counted from `folder`."""
        paths = {
            name: folder / value.expanduser()
            for name in ("home", "mailbox", "policy", "shop")
            if (value := getattr(self, name)) is not None
        }
        smtp = self.smtp.under(folder) if self.smtp is not None else None
        return self.model_copy(update={**paths, "smtp": smtp})


def load_config(file: Path | None = None) -> DeskConfig:
    """Read `file`, or desk.toml in this folder where it is there, or the defaults. Raises ConfigInvalid with every problem."""
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
        problems = "; ".join(map(_told, error.errors(include_url=False, include_input=False)))
        raise ConfigInvalid(f"{file} has {error.error_count()} problem{'s' * (error.error_count() > 1)}: {problems}.") from None


def _told(problem: ErrorDetails) -> str:
    key = ".".join(map(str, problem["loc"])) or "the file"
    if problem["type"] == "extra_forbidden":
        return f"{key}: is no setting; take it out, or correct its name"
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}"
