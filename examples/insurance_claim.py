"""An insurance claim: a small one is paid at once, a large one waits for a person, and nobody is paid twice.

Serve it, and decide in the browser:

    cd examples && pointsman serve --app insurance_claim:claims --db claims.db
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from pointsman import Context, Idempotent, Process, State, finish, open_blocking, otherwise, park, reassign, remind, when

SMALL = 200  # euros that are paid without a person


class Assessment(BaseModel):
    """What a person decides about a claim."""

    decision: Literal["pay", "refuse"] = Field(description="Whether the damage is covered")
    amount: int = Field(ge=0, le=100_000, description="What is paid, in euros")
    reason: str = Field(min_length=3, description="Why; the customer reads it")


class Claim(State):
    """A claim, and what becomes of it."""

    customer: str
    damage: str
    asked: int
    iban: str
    covered: bool | None = None
    letter: str | None = None
    assessment: Assessment | None = None
    payment: str | None = None


claims = Process("claims", Claim)


@claims.node(writes="covered")
def look_up_cover(damage: str) -> bool:
    """Ask the policy; here every damage but war is covered."""
    return "war" not in damage.lower()


@claims.node(writes="letter")
def draft_letter(customer: str, damage: str, covered: bool) -> str:
    """A model would write this."""
    return f"Dear {customer},\nyour claim about {damage} is {'covered' if covered else 'not covered'}."


assess = claims.pause(
    name="assess",
    writes="assessment",
    answer=Assessment,
    shows=("customer", "damage", "asked", "letter"),
    edits=("letter",),
    beside=("covered", "iban"),
    assignee="first line",
    deadline="5d",
    ladder=(remind("1d"), reassign("2d", "team lead"), park()),
)


@claims.effect(writes="payment", safety=Idempotent())
def pay(iban: str, asked: int, assessment: Assessment | None, *, ctx: Context) -> str:
    """The bank keeps one order a key: here a file, so that a repeated call changes nothing."""
    amount = asked if assessment is None else assessment.amount
    bank = Path(os.environ.get("BANK", "bank"))
    bank.mkdir(parents=True, exist_ok=True)
    (bank / f"{ctx.key}.json").write_text(json.dumps({"iban": iban, "amount": amount}), encoding="utf-8")
    return f"{amount} euros to {iban}"


claims.rules(
    when("the cover is not known", lambda c: c.covered is None, look_up_cover),
    when("there is no letter", lambda c: c.letter is None, draft_letter),
    when("it needs a person", lambda c: c.assessment is None and (c.asked > SMALL or not c.covered), assess),
    when("it was refused", lambda c: c.assessment is not None and c.assessment.decision == "refuse", finish("refused")),
    when("it is not paid", lambda c: c.payment is None, pay),
    otherwise(finish("paid")),
)


def main() -> None:
    """Pay a small claim at once, and a large one after a person has decided."""
    folder = Path(tempfile.mkdtemp())
    os.environ["BANK"] = str(folder / "bank")
    with open_blocking(folder / "claims.db", [claims]) as engine:
        small = engine.start(claims, Claim(customer="Ada", damage="a broken cup", asked=20, iban="DE00 0001"), key="1").case
        print(engine.wait_until_resting(small).outcome)
        large = engine.start(claims, Claim(customer="Grace", damage="a flooded cellar", asked=900, iban="DE00 0002"), key="2").case
        print(engine.wait_until_resting(large).rule)
        pending = engine.pending(large)
        engine.resume(pending.token, Assessment(decision="pay", amount=750, reason="the pump was old"), by="anna")
        print(engine.wait_until_resting(large).outcome, len(list((folder / "bank").iterdir())))


if __name__ == "__main__":
    main()

# prints: paid
# prints: it needs a person
# prints: paid 2
