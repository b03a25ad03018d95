"""Small processes, one for each part of the engine's repertoire, and the story of senders and people that each is told with."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from pointsman import (
    AtMostOnce,
    Context,
    Database,
    Idempotent,
    Item,
    Log,
    Process,
    Retry,
    State,
    Status,
    answer_with,
    compensate,
    each,
    finish,
    otherwise,
    park,
    remind,
    when,
)
from pointsman.definition.process import AnyProcess

AGAIN = Retry(attempts_max=3, first_seconds=0)
HOUR = 3_600.0


@dataclass(frozen=True)
class Story:
    """A process with its children, and who does what to it; `ignores` are fields that may differ from life to life."""

    name: str
    processes: Callable[[Any], Sequence[AnyProcess]]
    told: Callable[[Any], Awaitable[None]]
    ignores: tuple[str, ...] = ()


class Mail(BaseModel, frozen=True):
    thread: str
    number: int


def mail(number: int, thread: str = "t") -> Mail:
    return Mail(thread=thread, number=number)


# A mail supersedes another one: while a node is at work on it, while a person is asked, and while none of it is left to do.


class Answer(State):
    mail: Mail
    draft: str | None = None
    approval: str | None = None
    receipt: str | None = None


def answering(outside: Any) -> list[AnyProcess]:
    process = Process("answering", Answer)

    @process.node(writes="draft", retry=AGAIN)
    async def write(mail: Mail, *, outside: Any) -> str:
        if mail.number == 1:
            await outside.until_answered("m2")
        return f"re {mail.number}"

    approve = process.pause(writes="approval", answer=str, shows=("mail", "draft"), name="approve")

    @process.effect(writes="receipt", safety=AtMostOnce(), retry=AGAIN)
    async def send(mail: Mail, draft: str, approval: str, *, ctx: Context, outside: Any) -> str:
        return outside.did(f"{draft} {approval}", ctx.key, knows_keys=False)

    process.accept(Mail, writes="mail", correlate=lambda m: m.thread, order=lambda m: m.number)
    process.rules(
        when("no draft", lambda c: c.draft is None, write),
        when("not approved", lambda c: c.approval is None, approve),
        when("not sent", lambda c: c.receipt is None, send),
        otherwise(finish("sent")),
    )
    return [process]


async def supersede(life: Any) -> None:
    await life.send("answering", mail(1), "m1")
    await life.send("answering", mail(2), "m2")
    await life.rest()
    await life.send("answering", mail(4), "m4")
    await life.send("answering", mail(3), "m3")  # an older one
    await life.approve("answering", "yes to 4")
    await life.rest()


# Notes come before their case and beside it; the pause that does not show them keeps its token.


class Noted(State):
    text: str
    notes: Log[Mail] = Field(default_factory=list)
    approval: str | None = None
    receipt: str | None = None


def noting(outside: Any) -> list[AnyProcess]:
    process = Process("noting", Noted)
    approve = process.pause(writes="approval", answer=str, shows=("text",))

    @process.effect(writes="receipt", safety=Idempotent(), retry=AGAIN)
    async def file(text: str, approval: str, notes: list[Mail], *, ctx: Context, outside: Any) -> str:
        return outside.did(f"{text} with {[note.number for note in notes]}", ctx.key)

    process.accept(Mail, writes="notes", correlate=lambda m: m.thread, while_open="append", starts=False, order=lambda m: m.number)
    process.rules(
        when("not approved", lambda c: c.approval is None, approve),
        when("too few", lambda c: len(c.notes) < 4, park("a note is missing")),
        when("not filed", lambda c: c.receipt is None, file),
        otherwise(finish("filed")),
    )
    return [process]


async def early_and_append(life: Any) -> None:
    await life.send("noting", mail(2), "n2")
    await life.send("noting", mail(1), "n1")
    await life.start("noting", {"text": "x"}, "c", correlation="t")
    await life.rest()

    async def see() -> None:
        for case in await life.when("noting", Status.WAITING):
            life.outside.write("token", (await life.engine.pending(case)).token)

    await life.once("seen", see)
    await life.send("noting", mail(3), "n3")
    await life.rest()

    async def answer() -> None:
        if await life.when("noting", Status.WAITING):
            await life.engine.resume(life.outside.lines("token")[-1], "yes", by="anna")

    await life.once("answer", answer)
    await life.rest()
    await life.send("noting", mail(4), "n4")
    await life.rest()


# Held mails start one case after the other; each of another thread starts its own.


class Job(State):
    mail: Mail
    approval: str | None = None
    receipt: str | None = None


def queueing(while_open: Any, pauses: bool) -> Callable[[Any], list[AnyProcess]]:
    def make(outside: Any) -> list[AnyProcess]:
        process = Process("queueing", Job)
        approve = process.pause(writes="approval", answer=str, shows=("mail",))

        @process.effect(writes="receipt", safety=Idempotent(), retry=AGAIN)
        async def do(mail: Mail, *, ctx: Context, outside: Any) -> str:
            return outside.did(f"job {mail.thread} {mail.number}", ctx.key)

        process.accept(Mail, writes="mail", correlate=lambda m: m.thread, while_open=while_open)
        process.rules(
            when("not approved", lambda c: pauses and c.mail.number == 1 and c.approval is None, approve),
            when("not done", lambda c: c.receipt is None, do),
            otherwise(finish("done")),
        )
        return [process]

    return make


async def hold(life: Any) -> None:
    for number in (1, 2, 3):
        await life.send("queueing", mail(number), f"j{number}")
    await life.approve("queueing", "yes to 1")
    await life.rest()


async def new_case(life: Any) -> None:
    for number in (2, 3):
        await life.send("queueing", mail(number), f"j{number}")
    await life.rest()


# A ladder up to its default answer, and a sleep behind it.


class Slow(State):
    text: str
    verdict: str | None = None
    rested: float | None = None
    receipt: str | None = None


def waiting(outside: Any) -> list[AnyProcess]:
    process = Process("waiting", Slow)
    judge = process.pause(writes="verdict", answer=str, shows=("text",), deadline="2h", ladder=[remind("1h"), answer_with("no word")])
    rest = process.sleep(writes="rested", seconds="1h")

    @process.effect(writes="receipt", safety=Idempotent(), retry=AGAIN)
    async def tell(verdict: str, *, ctx: Context, outside: Any) -> str:
        return outside.did(verdict, ctx.key)

    process.rules(
        when("not judged", lambda c: c.verdict is None, judge),
        when("not rested", lambda c: c.rested is None, rest),
        when("not told", lambda c: c.receipt is None, tell),
        otherwise(finish("told")),
    )
    return [process]


async def time(life: Any) -> None:
    await life.start("waiting", {"text": "x"}, "c")
    for hour in (1, 2, 3):
        await life.pass_time(HOUR, f"hour {hour}")


# Children: joined; superseded by one with other inputs; cancelled with their parent.


class Parcel(State):
    address: str
    approval: str | None = None
    label: str | None = None


class Order(State):
    address: str
    shipment: str | None = None
    receipt: str | None = None


def ordering(outside: Any) -> list[AnyProcess]:
    shipping = Process("shipping", Parcel)
    approve = shipping.pause(writes="approval", answer=str, shows=("address",))

    @shipping.effect(writes="label", safety=Idempotent(), retry=AGAIN)
    async def print_label(address: str, *, ctx: Context, outside: Any) -> str:
        return outside.did(f"label for {address}", ctx.key)

    shipping.rules(
        when("to approve", lambda c: c.address != "near" and c.approval is None, approve),
        when("no label", lambda c: c.label is None, print_label),
        otherwise(finish("shipped")),
    )
    process = Process("ordering", Order)

    def inputs(address: str) -> dict[str, str]:
        return {"address": address}

    ship = process.child(shipping, inputs, writes="shipment", result="label", name="ship")

    @process.effect(writes="receipt", safety=Idempotent(), retry=AGAIN)
    async def bill(shipment: str, *, ctx: Context, outside: Any) -> str:
        return outside.did(f"bill for {shipment}", ctx.key)

    process.accept(str, writes="address", correlate=lambda m: "one")
    process.rules(
        when("not shipped", lambda c: c.shipment is None, ship),
        when("not billed", lambda c: c.receipt is None, bill),
        otherwise(finish("done")),
    )
    return [process, shipping]


async def child_joined(life: Any) -> None:
    await life.start("ordering", {"address": "near"}, "c")
    await life.rest()


async def child_superseded(life: Any) -> None:
    await life.start("ordering", {"address": "far"}, "c", correlation="one")
    await life.rest()
    await life.send("ordering", "farther", "m1")
    await life.rest()
    await life.approve("shipping", "yes to farther")
    await life.rest()


async def child_cancelled(life: Any) -> None:
    await life.start("ordering", {"address": "far"}, "c", correlation="one")
    await life.rest()
    await life.cancel("ordering", "no")
    await life.rest()


# An author's rows in the commit of the step: tried again where it raises, and taken back where a mail comes first.


class Booking(State):
    mail: Mail
    seat: str | None = None
    receipt: str | None = None
    approval: str | None = None


def booking(outside: Any) -> list[AnyProcess]:
    process = Process("booking", Booking)

    @process.transaction(writes="seat", retry=AGAIN)
    def book(mail: Mail, *, db: Database, ctx: Context) -> str:
        db.execute("CREATE TABLE IF NOT EXISTS seats (who TEXT NOT NULL)")
        db.execute("INSERT INTO seats (who) VALUES (?)", (f"mail {mail.number}",))
        if ctx.attempt == 1:
            raise OSError("try again")
        return f"seat for {mail.number}"

    @process.effect(writes="receipt", safety=Idempotent(), retry=AGAIN)
    async def tell(seat: str, *, ctx: Context, outside: Any) -> str:
        return outside.did(seat, ctx.key)

    confirm = process.pause(writes="approval", answer=str, shows=("seat",))
    process.accept(Mail, writes="mail", correlate=lambda m: m.thread)
    process.rules(
        when("no seat", lambda c: c.seat is None, book),
        when("not told", lambda c: c.receipt is None, tell),
        when("not confirmed", lambda c: c.approval is None, confirm),
        otherwise(finish("booked")),
    )
    return [process]


async def transaction(life: Any) -> None:
    await life.send("booking", mail(1), "m1")
    await life.rest()
    await life.send("booking", mail(2), "m2")
    await life.approve("booking", "yes")
    await life.rest()


# Two effects, taken back in reverse: by calls of policies that differ.


class Trip(State):
    where: str
    hotel: str | None = None
    flight: str | None = None
    verdict: str | None = None


def travelling(outside: Any) -> list[AnyProcess]:
    process = Process("travelling", Trip)

    @process.compensation(safety=AtMostOnce(), retry=AGAIN)
    async def cancel_hotel(hotel: str, *, ctx: Context, outside: Any) -> None:
        outside.did(f"cancel {hotel}", ctx.key, knows_keys=False)

    @process.compensation(safety=Idempotent(), retry=AGAIN)
    async def cancel_flight(flight: str, *, ctx: Context, outside: Any) -> None:
        outside.did(f"cancel {flight}", ctx.key)

    @process.effect(writes="hotel", safety=AtMostOnce(), retry=AGAIN, undo=cancel_hotel)
    async def book_hotel(where: str, *, ctx: Context, outside: Any) -> str:
        return outside.did(f"hotel in {where}", ctx.key, knows_keys=False)

    @process.effect(writes="flight", safety=Idempotent(), retry=AGAIN, undo=cancel_flight)
    async def book_flight(where: str, hotel: str, *, ctx: Context, outside: Any) -> str:
        return outside.did(f"flight to {where}", ctx.key)

    judge = process.pause(writes="verdict", answer=str, shows=("flight",))
    process.rules(
        when("no hotel", lambda c: c.hotel is None, book_hotel),
        when("no flight", lambda c: c.flight is None, book_flight),
        when("not judged", lambda c: c.verdict is None, judge),
        otherwise(compensate("called off")),
    )
    return [process]


async def taking_back(life: Any) -> None:
    await life.start("travelling", {"where": "Rome"}, "c")
    await life.approve("travelling", "a storm")
    await life.rest()


# A case whose items change while they are worked on, and one that an operator corrects.


class Cart(State):
    lines: list[str]
    prices: list[int] | None = None
    receipt: str | None = None


def pricing(outside: Any) -> list[AnyProcess]:
    process = Process("pricing", Cart)

    @process.node(writes="prices", retry=AGAIN)
    async def price(line: Item[str], *, outside: Any) -> int:
        if line == "c":
            await outside.until_answered("m1")
        return int(line) if line.isdigit() else len(line)

    @process.effect(writes="receipt", safety=Idempotent(), retry=AGAIN)
    async def bill(lines: list[str], prices: list[int], *, ctx: Context, outside: Any) -> str:
        if "-1" in lines:
            raise ValueError("no such price")
        return outside.did(f"{lines} cost {sum(prices)}", ctx.key)

    process.accept(list[str], writes="lines", correlate=lambda m: "one", name="change")
    process.rules(
        when("not priced", lambda c: c.prices is None, each(price, over="lines", concurrency=3)),
        when("too dear", lambda c: sum(c.prices) > 100, park("it is too dear")),
        when("not billed", lambda c: c.receipt is None, bill),
        otherwise(finish("billed")),
    )
    return [process]


async def items(life: Any) -> None:
    await life.start("pricing", {"lines": ["a", "b", "c"]}, "c", correlation="one")
    await life.send("pricing", ["a", "d", "200"], "m1")
    await life.rest()

    async def correct() -> None:
        for case in await life.when("pricing", Status.PARKED):
            await life.engine.redrive(case, by="anna", why="a slip", fields={"lines": ["a", "d", "20"]})

    await life.once("corrected", correct)
    await life.rest()


STORIES = {
    story.name: story
    for story in (
        Story("supersede", answering, supersede),
        Story("early and append", noting, early_and_append),
        Story("hold", queueing("hold", pauses=True), hold),
        Story("new case", queueing("new_case", pauses=False), new_case),
        Story("time", waiting, time, ignores=("rested",)),
        Story("child joined", ordering, child_joined),
        Story("child superseded", ordering, child_superseded),
        Story("child cancelled", ordering, child_cancelled),
        Story("transaction", booking, transaction),
        Story("compensation", travelling, taking_back),
        Story("items", pricing, items),
    )
}
