"""The processes that the simulation runs: each kind of step and of message, and two effects of different policies in a row."""

from typing import Any, Literal

from pydantic import BaseModel, Field
from world import (
    CALL_SECONDS,
    DEADLINE_SECONDS,
    KEY_TTL_SECONDS,
    NAP_SECONDS,
    PROVIDER_CALLS,
    SETTLE_SECONDS,
    SOURCE_CALLS,
    WORK_SECONDS,
    Oracle,
    Provider,
    Unreliable,
)

from pointsman import (
    AtLeastOnce,
    AtMostOnce,
    Context,
    Database,
    Failure,
    Guard,
    Idempotent,
    Item,
    Limit,
    Log,
    ModelResponse,
    Peek,
    Process,
    Reconcile,
    Retry,
    Safety,
    State,
    answer_with,
    compensate,
    each,
    finish,
    otherwise,
    parallel,
    quorum,
    remind,
    when,
)

RETRY = Retry(attempts_max=4, first_seconds=1.0)
PROVIDER = Limit("provider", concurrency=PROVIDER_CALLS)
SOURCES = Limit("sources", concurrency=SOURCE_CALLS)


class Mail(BaseModel):
    """What a case is about; a later one of the thread has a higher number."""

    thread: str
    number: int

    @property
    def id(self) -> str:
        return f"{self.thread}.{self.number}"


class Note(BaseModel):
    """What is put beside a case."""

    thread: str
    number: int


class Approval(BaseModel):
    """A person's word on what was shown: `seen` is the draft that they read."""

    verdict: Literal["yes", "no", "redo"]
    by: str
    seen: str


class Trade(State):
    message: Mail
    notes: Log[Note] = Field(default_factory=list)
    left: str | None = None
    right: str | Failure | None = None
    draft: str | None = None
    checked: str | None = None
    approval: Approval | None = None
    receipt: str | None = None
    booked: str | None = None
    rested: float | None = None


class Ticket(State):
    message: Mail
    receipt: str | None = None


class Errand(State):
    what: str
    receipt: str | None = None
    label: str | None = None


class Order(State):
    message: Mail
    label: str | None = None


class Basket(State):
    lines: list[int]
    who: str
    prices: list[int | Failure] | None = None
    fast: str | Failure | None = None
    cheap: str | Failure | None = None
    seat: int | None = None
    hotel: str | None = None


async def ask_provider(*, ctx: Context, provider: Provider) -> Any:
    return await provider.look_up(ctx.key)


def policies() -> dict[str, Safety]:
    return {
        "idempotent": Idempotent(key_ttl_seconds=KEY_TTL_SECONDS),
        "reconcile": Reconcile(ask_provider, SETTLE_SECONDS),
        "once": AtMostOnce(),
        "again": AtLeastOnce(because="the simulation counts it"),
    }


def trade(first: str, second: str) -> Process[Trade]:
    """Two branches, a draft that a person sees, two effects, a rest; every new mail of the thread begins it afresh."""
    process = Process(f"trade-{first}", Trade, steps_max=200)
    process.accept(Mail, writes="message", correlate=lambda m: m.thread, key=lambda m: m.id, order=lambda m: m.number, name="mail")
    process.accept(Note, writes="notes", correlate=lambda m: m.thread, while_open="append", starts=False,
                   key=lambda m: f"{m.thread}/{m.number}", name="note")  # fmt: skip

    @process.node(writes="left", retry=RETRY, timeout_seconds=WORK_SECONDS)
    async def find_left(message: Mail, *, unreliable: Unreliable) -> str:
        await unreliable.work()
        return f"left of {message.id}"

    @process.node(writes="right", retry=Retry(attempts_max=2), on_failure="record", timeout_seconds=WORK_SECONDS)
    async def find_right(message: Mail, *, unreliable: Unreliable) -> str:
        await unreliable.work()
        return f"right of {message.id}"

    @process.node(writes="draft", retry=RETRY)
    async def write(message: Mail, left: str, right: str | Failure, *, unreliable: Unreliable) -> str:
        await unreliable.work()
        fitting = left.endswith(message.id) and (isinstance(right, Failure) or right.endswith(message.id))
        return f"{message.id}/" if fitting else f"{left} and {right}, mixed up"

    @process.node(writes="draft", retry=RETRY)
    async def rewrite(message: Mail, draft: Peek[str], approval: Peek[Approval], *, unreliable: Unreliable) -> str:
        await unreliable.work()
        return f"{message.id}/{draft.split('/')[1]}+"

    @process.node(writes="checked", retry=RETRY)
    async def check(draft: str) -> str:
        return f"checked {draft}"

    @process.effect(writes="receipt", safety=policies()[first], timeout_seconds=CALL_SECONDS, retry=RETRY)
    async def send(message: Mail, draft: str, checked: str, approval: Approval, *, ctx: Context, provider: Provider) -> str:
        stale = not fits(message, draft, checked) or approval.seen != draft or approval.verdict != "yes"
        return await provider.call(ctx, first, (message.id, draft, approval.by), stale=stale, limited=False)

    @process.effect(writes="booked", safety=policies()[second], timeout_seconds=CALL_SECONDS, retry=RETRY)
    async def book(receipt: str, *, ctx: Context, provider: Provider) -> str:
        return await provider.call(ctx, second, (receipt,), stale=False, limited=False)

    nobody = Approval(verdict="no", by="the deadline", seen="")
    approve = process.pause(writes="approval", answer=Approval, shows=("draft",), edits=("draft",), beside=("checked",),
                            deadline=DEADLINE_SECONDS, ladder=[remind(20.0), answer_with(nobody)])  # fmt: skip
    rest = process.sleep(writes="rested", seconds=NAP_SECONDS)
    process.rules(
        when("facts are missing", lambda c: c.left is None or c.right is None, parallel(find_left, find_right)),
        when("no draft", lambda c: c.draft is None, write),
        when("unchecked", lambda c: c.checked is None, check),
        when("nobody has looked", lambda c: c.approval is None, approve),
        when("said redo", lambda c: c.approval.verdict == "redo", rewrite),
        when("said no", lambda c: c.approval.verdict == "no", finish("rejected")),
        when("not sent", lambda c: c.receipt is None, send),
        when("not booked", lambda c: c.booked is None, book),
        when("not rested", lambda c: c.rested is None, rest),
        otherwise(finish("sent")),
    )
    return process


def ticket() -> Process[Ticket]:
    """One mail of a thread at a time: the next one waits until the case has ended."""
    process = Process("ticket", Ticket)
    process.accept(Mail, writes="message", correlate=lambda m: m.thread, key=lambda m: m.id, while_open="hold", name="mail")

    @process.effect(writes="receipt", safety=policies()["reconcile"], timeout_seconds=CALL_SECONDS, retry=RETRY, limit=PROVIDER)
    async def file(message: Mail, *, ctx: Context, provider: Provider) -> str:
        return await provider.call(ctx, "reconcile", (message.id,), stale=False)

    process.rules(when("not filed", lambda c: c.receipt is None, file), otherwise(finish("filed")))
    return process


def errand() -> Process[Errand]:
    """What an order has done for it, and what a model calls that."""
    process = Process("errand", Errand)

    @process.effect(writes="receipt", safety=policies()["idempotent"], timeout_seconds=CALL_SECONDS, retry=RETRY, limit=PROVIDER)
    async def run(what: str, *, ctx: Context, provider: Provider) -> str:
        return await provider.call(ctx, "idempotent", (what,), stale=False)

    def of_the_errand(label: str, what: str) -> str | None:
        return None if label == f"label of {what}" else "it is of something else"

    @process.node(writes="label", retry=RETRY, guard=Guard(of_the_errand, repairs_max=1, models=2))
    async def name(what: str, receipt: str, *, ctx: Context, oracle: Oracle) -> ModelResponse[str]:
        return await oracle.answer(ctx, f"label of {what}")

    process.rules(
        when("not run", lambda c: c.receipt is None, run),
        when("no label", lambda c: c.label is None, name),
        otherwise(finish("run")),
    )
    return process


def order(child: Process[Errand]) -> Process[Order]:
    """One step, which is a case of another process; a new mail cancels that one and starts another."""
    process = Process("order", Order)
    process.accept(Mail, writes="message", correlate=lambda m: m.thread, key=lambda m: m.id, order=lambda m: m.number, name="mail")
    has_it_run = process.child(child, errand_of, writes="label", result="label", name="have it run")
    process.rules(when("no label", lambda c: c.label is None, has_it_run), otherwise(finish("ordered")))
    return process


def basket() -> Process[Basket]:
    """A branch for each line, one of two offers, rows of the author's own, and an effect that is taken back where the lines are odd."""
    process = Process("basket", Basket)

    @process.node(writes="prices", retry=Retry(attempts_max=2), timeout_seconds=WORK_SECONDS, limit=SOURCES)
    async def price(line: Item[int], *, unreliable: Unreliable) -> int:
        await unreliable.work(limited=True)
        return line * 10

    @process.node(writes="fast", retry=Retry(attempts_max=2), timeout_seconds=WORK_SECONDS, limit=SOURCES)
    async def ask_fast(who: str, *, unreliable: Unreliable) -> str:
        await unreliable.work(limited=True)
        return f"fast for {who}"

    @process.node(writes="cheap", retry=Retry(attempts_max=2), timeout_seconds=WORK_SECONDS, limit=SOURCES)
    async def ask_cheap(who: str, *, unreliable: Unreliable) -> str:
        await unreliable.work(limited=True)
        return f"cheap for {who}"

    @process.transaction(writes="seat")
    def take_seat(who: str, *, db: Database) -> int:
        db.execute("CREATE TABLE IF NOT EXISTS seats (seat INTEGER PRIMARY KEY, who TEXT NOT NULL)")
        taken = "INSERT INTO seats (seat, who) SELECT coalesce(max(seat), 0) + 1, ? FROM seats RETURNING seat"
        return int(db.execute(taken, (who,))[0][0])

    @process.compensation(safety=policies()["idempotent"], timeout_seconds=CALL_SECONDS, retry=RETRY)
    async def give_back(hotel: str, *, ctx: Context, provider: Provider) -> None:
        await provider.call(ctx, "idempotent", ("back", hotel), stale=False, limited=False)

    @process.effect(
        writes="hotel", safety=policies()["reconcile"], undo=give_back, timeout_seconds=CALL_SECONDS, retry=RETRY, limit=PROVIDER
    )
    async def take_room(who: str, seat: int, *, ctx: Context, provider: Provider) -> str:
        return await provider.call(ctx, "reconcile", (who,), stale=False)

    process.rules(
        when("not priced", lambda c: c.prices is None, each(price, over="lines", failures="record", concurrency=2)),
        when("no offer", lambda c: c.fast is None, parallel(ask_fast, ask_cheap, failures=quorum(1))),
        when("no seat", lambda c: c.seat is None, take_seat),
        when("no room", lambda c: c.hotel is None, take_room),
        when("odd", lambda c: len(c.lines) % 2 == 1, compensate("called off")),
        otherwise(finish("kept")),
    )
    return process


def errand_of(message: Mail) -> dict[str, Any]:
    return {"what": message.id}


def fits(message: Mail, draft: str, checked: str) -> bool:
    """Whether each was computed from the one before it."""
    return draft.startswith(f"{message.id}/") and checked == f"checked {draft}"


def processes() -> list[Process[Any]]:
    names = list(policies())
    child = errand()
    return [*(trade(name, names[(i + 1) % len(names)]) for i, name in enumerate(names)), ticket(), child, order(child), basket()]
