"""A guard that cannot work is refused where it is declared, with the check, the field and the mend."""

from collections.abc import Callable
from typing import Any

import pytest
from declarations import refusal
from pydantic import BaseModel

from pointsman import Context, Guard, ModelResponse, Peek, Process, State, Unsafe, finish, otherwise, when


class Draft(BaseModel):
    text: str


class Case(State):
    mail: str
    tone: str | None = None
    draft: Draft | None = None
    open: Draft | Unsafe[Draft] | None = None


async def write(mail: str, *, ctx: Context) -> ModelResponse[Draft]:
    raise NotImplementedError


async def write_both(mail: str) -> ModelResponse[tuple[str, Draft]]:
    raise NotImplementedError


def short(draft: Draft) -> str | None:
    return None


def of_the_mail(mail: str) -> str | None:
    return None


def of_a_stranger(draft: Draft, stranger: str) -> str | None:
    return None


def of_a_number(draft: int) -> str | None:
    return None


def with_a_client(draft: Draft, *, client: object) -> str | None:
    return None


def in_tone(draft: Draft, tone: str | None) -> str | None:
    return None


def declare(guard: Guard | None, function: Any = write, writes: Any = "draft") -> Any:
    return Process("desk", Case).node(function, writes=writes, guard=guard)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda: declare(Guard(of_the_mail)), ("check 'of_the_mail'", "does not read what the node writes", "name one of draft")),
        (lambda: declare(Guard(of_a_stranger)), ("check 'of_a_stranger'", "'stranger' is not a field")),
        (lambda: declare(Guard(of_a_number)), ("check 'of_a_number'", "takes int", "returns Draft")),
        (lambda: Guard(with_a_client), ("check 'with_a_client'", "client", "reads fields only")),
        (lambda: Guard(short, short), ("two checks are called 'short'",)),
        (lambda: Guard(lambda draft: None), ("has no name",)),
        (lambda: Guard(repairs_max=-1), ("repairs_max is -1", "0 or more")),
        (lambda: Guard(free_models=2), ("free_models is 2", "1 models")),
        (lambda: Guard(models=0), ("models is 0", "1 or more")),
        (lambda: declare(Guard(escalate="unsafe")), ('escalate="unsafe"', "field 'draft'", "add `| Unsafe[Draft]`")),
        (lambda: declare(Guard(escalate="unsafe"), write_both, ("tone", "draft")), ('escalate="unsafe"', "needs one field")),
        (lambda: declare(Guard(), write, "tone"), ("returns Draft", "field 'tone' takes str")),
    ],
)
def test_what_cannot_work_is_refused(broken: Callable[[], object], told: tuple[str, ...]) -> None:
    text = refusal(broken)

    assert all(part in text for part in told), text


def test_a_node_depends_on_what_its_checks_read() -> None:
    async def peeking(mail: Peek[str]) -> ModelResponse[Draft]:
        raise NotImplementedError

    assert declare(Guard(in_tone), peeking).depends == {"tone"}
    assert declare(Guard(in_tone)).depends == {"mail", "tone"}


def test_a_check_may_peek_as_a_node_may() -> None:
    def at_a_glance(draft: Draft, tone: Peek[str | None]) -> str | None:
        return None

    assert declare(Guard(at_a_glance)).depends == {"mail"}


def test_the_fingerprint_tells_guards_apart() -> None:
    class Note(State):
        mail: str
        draft: Draft | None = None

    def fitting(draft: Draft, mail: str) -> str | None:
        return None

    def fingerprint(guard: Guard) -> str:
        process = Process("desk", Note)
        node = process.node(write, writes="draft", guard=guard)
        process.rules(when("no draft", lambda c: c.draft is None, node), otherwise(finish("drafted")))
        return process.fingerprint

    told = [fingerprint(guard) for guard in (Guard(short), Guard(short, repairs_max=1), Guard(short, fitting), Guard(short))]

    assert told[0] == told[3]
    assert len(set(told)) == 3


def test_an_answer_of_several_fields_may_be_checked_by_any_of_them() -> None:
    node = declare(Guard(short, in_tone), write_both, ("tone", "draft"))

    assert node.depends == {"mail"}
    assert declare(None, write_both, ("tone", "draft")).guard == Guard(repairs_max=0)


def test_an_unsafe_answer_may_go_where_the_field_takes_it() -> None:
    assert declare(Guard(escalate="unsafe"), write, "open").guard.escalate == "unsafe"
