"""A process that programs of the tests import: a claim that a person assesses, or that parks where its downstream is away."""

import os
from pathlib import Path

from pointsman import Process, State, finish, otherwise, park, when


class Claim(State):
    text: str
    verdict: str | None = None
    paid: bool | None = None


claims = Process("claims", Claim)
assess = claims.pause(name="assess", writes="verdict", answer=str, shows=("text",))


@claims.node(writes="paid")
def pay(text: str, verdict: str, *, bank: Path) -> bool:
    return bank.is_file() and bool(text and verdict)


claims.rules(
    when("it is not assessed", lambda claim: claim.verdict is None, assess),
    when("it is assessed", lambda claim: claim.paid is None, pay),
    when("the bank is away", lambda claim: claim.paid is False, park("the bank is away")),
    otherwise(finish("paid")),
)


def resources() -> dict[str, Path]:
    """What the process uses: the bank is there while its file is."""
    return {"bank": Path(os.environ["CLAIMS_BANK"])}
