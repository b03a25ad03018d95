"""What the HTTP API takes and returns, as Pydantic models. The server and the clients share them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from pointsman.kernel.snapshot import Status
from pointsman.store.query import Order

TEXT_MAX = 2_000  # characters of a reason: a paragraph
NAME_MAX = 200  # characters of a name, a key or a tenant
LIST_MAX = 1_000  # rows of one page
NUMBER_MAX = 2**63 - 1  # the largest number of a case


class Request(BaseModel):
    """The base class of what the API takes. An unknown member is an error, so that a misspelt one is not ignored."""

    model_config = ConfigDict(extra="forbid", str_max_length=1_000_000, ser_json_inf_nan="constants")


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


class Assign(Command):
    """Ask somebody else to answer the pause of a case: `to`, or nobody in particular if that is empty. `note` says why."""

    to: str = Field(max_length=NAME_MAX)
    note: str = Field(default="", max_length=TEXT_MAX)


class Cancel(Command):
    """Cancel a case, and say why."""

    why: str = Field(max_length=TEXT_MAX)


class Redrive(Command):
    """Return a parked case to the backlog. `fields` corrects its state first."""

    why: str = Field(max_length=TEXT_MAX)
    fields: dict[str, Any] = {}


class Resolve(Command):
    """Say whether the effect in doubt with this idempotency key happened. `outcome` is then what it would have returned.

    `expected_attempts` is the number of its calls when you checked; after another call, the answer is refused.
    """

    key: str = Field(max_length=NAME_MAX)
    happened: bool
    why: str = Field(max_length=TEXT_MAX)
    outcome: Any = None
    expected_attempts: int | None = None


class Erase(Command):
    """Delete the content of a case, and say why."""

    why: str = Field(max_length=TEXT_MAX)


class ErasePerson(Command):
    """Delete the content of all cases that a searchable field finds by exactly this value, and say why. A `dry_run` only says which."""

    person: str = Field(max_length=NAME_MAX)
    why: str = Field(max_length=TEXT_MAX)
    dry_run: bool = True


class PauseIntake(Command):
    """Refuse starts until the intake is resumed, and say why."""

    why: str = Field(max_length=TEXT_MAX)


class Redeliver(Command):
    """Call a subscriber again with what it has given up, or `forget` that."""

    subscriber: str = Field(max_length=NAME_MAX)
    forget: bool = False


class Message(Request):
    """Deliver a message to the open case of its tenant and correlation key, or start a case with it.

    `name` says which message of the process it is; it is needed if the process accepts several.
    """

    process: str = Field(max_length=NAME_MAX)
    message: Any
    name: str | None = Field(default=None, max_length=NAME_MAX)
    key: str | None = Field(default=None, max_length=NAME_MAX)
    tenant: str = Field(default="", max_length=NAME_MAX)
    priority: int = 0


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


class CaseFilters(BaseModel):
    """Which cases to list; a case must fit every filter that is given. Times are Unix seconds.

    `status` is one status or several. `assignee=""` finds pauses that nobody is assigned to. Each `search` is FIELD=VALUE, for a field that
    the process declares as searchable; `text` is words that must all occur in such fields. `order` is number, newest, changed or waiting.
    `after` is the cursor of the page before.
    """

    model_config = ConfigDict(extra="forbid")

    process: str | None = Field(default=None, max_length=NAME_MAX)
    status: list[Status] = []
    tenant: str | None = Field(default=None, max_length=NAME_MAX)
    key: str | None = Field(default=None, max_length=NAME_MAX)
    correlation: str | None = Field(default=None, max_length=NAME_MAX)
    rule: str | None = Field(default=None, max_length=NAME_MAX)
    outcome: str | None = Field(default=None, max_length=NAME_MAX)
    pause: str | None = Field(default=None, max_length=NAME_MAX)
    assignee: str | None = Field(default=None, max_length=NAME_MAX)
    waiting_before: float | None = None
    waiting_after: float | None = None
    expires_before: float | None = None
    search: list[Annotated[str, Field(pattern=".+=.*", max_length=TEXT_MAX)]] = []
    text: str = Field(default="", max_length=TEXT_MAX)
    order: Order = Order.NUMBER
    after: str = Field(default="", max_length=TEXT_MAX)
    limit: int = Field(default=100, ge=1, le=LIST_MAX)


class CasesView(BaseModel):
    """A page of cases. `cursor` is where the next page begins, or null after the last case."""

    cases: list[CaseView]
    cursor: str | None


class TaskFilters(BaseModel):
    """Which tasks to list. `assignee=""` finds what nobody is assigned to. `after` is the cursor of the page before."""

    model_config = ConfigDict(extra="forbid")

    process: str | None = Field(default=None, max_length=NAME_MAX)
    pause: str | None = Field(default=None, max_length=NAME_MAX)
    assignee: str | None = Field(default=None, max_length=NAME_MAX)
    tenant: str | None = Field(default=None, max_length=NAME_MAX)
    after: str = Field(default="", max_length=TEXT_MAX)
    limit: int = Field(default=100, ge=1, le=LIST_MAX)


class TaskRow(BaseModel):
    """A pause that waits for a person, without what it shows. Times are Unix seconds."""

    case: int
    process: str
    pause: str
    assignee: str | None
    since: float
    expires_at: float | None
    digest: str
    tenant: str
    priority: int


class TasksView(BaseModel):
    """A page of the work list, the longest wait first. `cursor` is where the next page begins, or null after the last task."""

    tasks: list[TaskRow]
    cursor: str | None


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


class DeliveredView(BaseModel):
    """The case that a message started or was delivered to, if any, and what happened to the message."""

    case: int | None
    how: str


class ProcessView(BaseModel):
    """A process that the engine runs: its newest version, the JSON Schema of its state, its pauses and its messages."""

    process: str
    version: int
    state_schema: dict[str, Any]
    pauses: list[str]
    messages: list[str]


class EventView(BaseModel):
    """An event of a case. `at` is in Unix seconds. Give `cursor` back to read on behind it."""

    cursor: str
    case: int
    revision: int
    kind: str
    step: str | None
    attempt: int
    at: float
    facts: dict[str, Any]


class EffectView(BaseModel):
    """An entry of the ledger: an effect, its idempotency key, how often it was called, and its outcome. Times are Unix seconds."""

    key: str
    case: int
    effect: str
    status: str
    attempts: int
    intended_at: float
    deadline: float
    outcome: Any
    error: str | None


class CaseDetail(CaseView):
    """A case with its state, its events and its effects. `writers` names the step that wrote each field; "" is an input."""

    state: dict[str, Any]
    writers: dict[str, str]
    events: list[EventView]
    effects: list[EffectView]


class LimitView(BaseModel):
    """A limit: its permits in use, and until when it is closed, and why (Unix seconds)."""

    limit: str
    permits: int
    failures: int
    held_until: float | None
    open_until: float | None


class IntakeView(BaseModel):
    """Whether the intake is paused, by whom, why, and since when (Unix seconds)."""

    paused: bool
    by: str | None = None
    why: str | None = None
    since: float | None = None


class RedeliveredView(BaseModel):
    """How many messages a subscriber is called with again, or which were `forgotten`."""

    subscriber: str
    messages: int
    forgotten: bool


class VacuumedView(BaseModel):
    """How many cases and blobs were deleted, and by how many bytes the file shrank."""

    cases: int
    blobs: int
    size: int


class RefusedView(BaseModel):
    """A case that was left as it is, and the reason."""

    case: int
    why: str


class PersonErasedView(BaseModel):
    """The cases of a person that were erased, or would be in a `dry_run`, and those that were left as they are.

    `person` is a digest. `blobs` is the number of blobs deleted, and `not_searched` names processes whose code the program does not have.
    """

    person: str
    dry_run: bool
    cases: list[int]
    refused: list[RefusedView]
    blobs: int
    not_searched: list[str]


class Problem(BaseModel):
    """An error (RFC 9457). `title` names its kind and `detail` says what to do. `case` and `by` are set where the error is about them."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    case: int | None = None
    by: str | None = None
