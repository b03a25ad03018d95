"""What the HTTP API takes and returns, as Pydantic models. The server and the clients share them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

TEXT_MAX = 2_000  # characters of a reason: a paragraph
NAME_MAX = 200  # characters of a name, a key or a tenant
NUMBER_MAX = 2**63 - 1  # the largest number of a case


class Request(BaseModel):
    """The base class of what the API takes. An unknown member is an error, so that a misspelt one is not ignored."""

    model_config = ConfigDict(extra="forbid", str_max_length=1_000_000)


class Command(Request):
    """The base class of what a person decides. `by` names the person; only a client on the server's own machine may set it."""

    by: str | None = Field(default=None, max_length=NAME_MAX)


class Start(Request):
    """Start a case of `process` with the inputs `state`. A second start with the same `key` returns the existing case."""

    process: str = Field(max_length=NAME_MAX)
    state: dict[str, Any]
    key: str | None = Field(default=None, max_length=NAME_MAX)
    correlation: str | None = Field(default=None, max_length=NAME_MAX)
    tenant: str = Field(default="", max_length=NAME_MAX)
    priority: int = 0


class Answer(Command):
    """Answer the pause of a case. `digest` says what was shown: an answer to anything else is refused as stale."""

    digest: str = Field(max_length=NAME_MAX)
    answer: Any
    edits: dict[str, Any] = {}


class Cancel(Command):
    """Cancel a case, and say why."""

    why: str = Field(max_length=TEXT_MAX)


class Redrive(Command):
    """Return a parked case to the backlog. `fields` corrects its state first."""

    why: str = Field(max_length=TEXT_MAX)
    fields: dict[str, Any] = {}


class CaseView(BaseModel):
    """A case: where it stands and since when (Unix seconds)."""

    case: int
    process: str
    version: int
    status: str
    revision: int
    step: str | None
    rule: str | None
    reason: str | None
    outcome: str | None
    key: str | None
    tenant: str
    correlation: str | None
    priority: int
    attempts: int
    created_at: float
    updated_at: float
    wake_at: float | None


class StartedView(BaseModel):
    """The number of a started case, and whether the start was a duplicate of an earlier one."""

    case: int
    duplicate: bool


class TaskView(BaseModel):
    """A pause that waits for a person: what it shows, and the JSON Schema of its answer. Times are Unix seconds."""

    case: int
    process: str
    pause: str
    digest: str
    shown: dict[str, Any]
    beside: dict[str, Any]
    edits: tuple[str, ...]
    answer_schema: dict[str, Any]
    assignee: str | None
    since: float
    expires_at: float | None


class Problem(BaseModel):
    """An error (RFC 9457). `title` names its kind and `detail` says what to do."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
