"""Declarations that several tests begin with."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from pointsman import (
    DefinitionError,
    Failure,
    Node,
    Process,
    State,
)


class Order(BaseModel):
    number: str


class Approval(BaseModel):
    approved: bool


class Ticket(State):
    message: str
    triage: str | None = None
    order: Order | Failure | None = None
    reply: str | None = None
    approval: Approval | None = None
    receipt: str | None = None


class Note(State):
    text: str
    length: int | None = None


class Pair(State):
    text: str
    left: str | None = None
    right: str | None = None


def count(text: str) -> int:
    return len(text)


def to_left(text: str) -> str:
    return text


def to_right(text: str) -> str:
    return text[::-1]


def refusal(declare: Callable[[], object]) -> str:
    """What the author is told when a declaration is refused."""
    with pytest.raises(DefinitionError) as refused:
        declare()
    text = str(refused.value)
    assert "\n" not in text
    return text


def pair() -> tuple[Process[Pair], Node[Any, str], Node[Any, str]]:
    """A process with two nodes and no rules yet."""
    process = Process("pair", Pair)
    return process, process.node(to_left, writes="left"), process.node(to_right, writes="right")


def to_left_of_ticket(message: str) -> str:
    return message


def send_message(message: str) -> str:
    return message
