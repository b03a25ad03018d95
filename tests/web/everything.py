"""A process whose pause asks for every kind of value, and shows every kind."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from pointsman import Process, State, finish, otherwise, when


class Refund(BaseModel):
    """Pay the customer back."""

    kind: Literal["refund"]
    amount: Decimal = Field(ge=0)


class Replace(BaseModel):
    kind: Literal["replace"]
    article: str = Field(max_length=40)


class Address(BaseModel):
    street: str
    town: str = Field(max_length=60)


class Full(BaseModel):
    agreed: bool
    reason: Literal["covered", "not_covered"] | None = Field(default=None, description="As the policy has it")
    country: Literal["at", "ch", "de", "es", "fr", "it"] = "de"
    note: str = ""
    count: int = Field(default=1, ge=1, le=9)
    due: date | None = None
    at: datetime | None = None
    address: Address | None = None
    lines: list[int] = []
    tags: set[Literal["new", "odd"]] = set()
    remedy: Annotated[Refund | Replace, Field(discriminator="kind")] | None = None
    more: dict[str, int] = {}


class Everything(State):
    facts: dict[str, Any]
    table: dict[str, int] | None = None
    said: Full | None = None


everything = Process("everything", Everything)


@everything.node(writes="table")
async def measure(facts: dict[str, Any]) -> dict[str, int]:
    return {"facts": len(facts)}


ask = everything.pause(name="ask_all", writes="said", answer=Full, shows=("facts", "table"), edits=("table",))
everything.rules(
    when("it is not measured", lambda one: one.table is None, measure),
    when("it is not said", lambda one: one.said is None, ask),
    otherwise(finish("said")),
)
FACTS = {
    "text": "two\nlines",
    "number": 3,
    "yes": True,
    "none": None,
    "list": ["a", {"deep": {"deeper": {"deepest": {"end": 1}}}}],
    "empty": [],
}
