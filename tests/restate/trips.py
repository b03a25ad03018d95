"""A process with a child, branches and compensations, which runs on an engine and on Restate."""

from datetime import timedelta
from typing import Any

from orders import Outside
from pydantic import BaseModel

from pointsman import (
    Context,
    Failure,
    Idempotent,
    Item,
    Process,
    Retry,
    State,
    compensate,
    each,
    finish,
    otherwise,
    parallel,
    when,
)


class Visa(State):
    country: str
    stamp: str | None = None
    waited: float | None = None


class Day(BaseModel):
    day: int
    place: str


class Trip(State):
    country: str
    visa: str | None = None
    weather: str | Failure | None = None
    news: str | Failure | None = None
    days: list[int] | None = None
    plan: list[Day | Failure] | None = None
    flight: str | None = None
    hotel: str | Failure | None = None


def visas(*, waits: bool) -> Process[Any]:
    visa = Process("visas", Visa)
    days = visa.sleep(writes="waited", seconds=timedelta(days=3))

    @visa.node(writes="stamp")
    async def stamp(country: str) -> str:
        return f"stamp of {country}"

    visa.rules(
        when("no visa for the moon", lambda c: c.country == "moon", finish("refused")),
        when("the office is closed", lambda c: c.waited is None and waits, days),
        when("no stamp yet", lambda c: c.stamp is None, stamp),
        otherwise(finish("stamped")),
    )
    return visa


def trips(*, waits: bool = False) -> list[Process[Any]]:
    """The process of trips and that of its child, which may wait for days."""
    trip, visa = Process("trips", Trip), visas(waits=waits)

    def inputs(country: str) -> dict[str, Any]:
        return {"country": country}

    ask_for_visa = trip.child(visa, inputs, writes="visa", result="stamp")

    @trip.node(writes="weather", on_failure="record", retry=Retry(attempts_max=2, first_seconds=30.0, jitter=0.0))
    async def ask_weather(country: str, *, ctx: Context) -> str:
        if ctx.attempt == 1:
            raise ConnectionError("the service is away")
        return f"rain in {country}"

    @trip.node(writes="news", on_failure="record", retry=Retry(attempts_max=1))
    def ask_news(country: str) -> str:
        raise LookupError("there are no news")

    @trip.node(writes="days")
    async def count_days(country: str) -> list[int]:
        return [1, 2, 3]

    @trip.node(writes="plan", on_failure="record", retry=Retry(attempts_max=1))
    async def plan_day(day: Item[int], country: str) -> Day:
        if day == 2:
            raise ValueError("it rains all day")
        return Day(day=day, place=country)

    @trip.compensation(safety=Idempotent(), timeout_seconds=20)
    async def cancel_flight(country: str, flight: str, *, ctx: Context, outside: Outside) -> None:
        outside.deliver("cancel_flight", ctx.key)

    @trip.effect(writes="flight", safety=Idempotent(), timeout_seconds=20, undo=cancel_flight)
    async def book_flight(country: str, *, ctx: Context, outside: Outside) -> str:
        return outside.deliver("book_flight", ctx.key)

    @trip.node(writes="hotel", on_failure="record", retry=Retry(attempts_max=1))
    async def book_hotel(country: str) -> str:
        if country == "full":
            raise LookupError("there is no room")
        return "a room"

    trip.rules(
        when("no visa yet", lambda c: c.visa is None, ask_for_visa),
        when("facts are missing", lambda c: c.weather is None or c.news is None, parallel(ask_weather, ask_news)),
        when("no days yet", lambda c: c.days is None, count_days),
        when("no plan yet", lambda c: c.plan is None, each(plan_day, over="days")),
        when("no flight yet", lambda c: c.flight is None, book_flight),
        when("no hotel yet", lambda c: c.hotel is None, book_hotel),
        when("no room", lambda c: isinstance(c.hotel, Failure), compensate("reversed")),
        otherwise(finish("booked")),
    )
    return [trip, visa]
