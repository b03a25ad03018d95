"""A process that starts with a message and takes more of them while it waits, in each of the four ways."""

from datetime import timedelta
from typing import Any

from pydantic import BaseModel, Field

from pointsman import Log, Process, State, finish, otherwise, when


class Letter(BaseModel):
    id: str
    thread: str
    text: str


class Ticket(State):
    letter: Letter
    reply: str | None = None
    waited: float | None = None


class Thread(State):
    letters: Log[Letter] = Field(default_factory=list)
    reply: str | None = None
    waited: float | None = None


def tickets(while_open: Any, *, starts: bool = True) -> Process[Any]:
    appends = while_open == "append"
    ticket = Process("tickets", Thread if appends else Ticket)
    ticket.accept(
        Letter, writes="letters" if appends else "letter", correlate=lambda letter: letter.thread or None, key=lambda letter: letter.id,
        while_open=while_open, name="letter-came", starts=starts,
    )  # fmt: skip
    if appends:

        @ticket.node(writes="reply")
        async def answer_all(letters: Log[Letter]) -> str:
            return " and ".join(letter.text for letter in letters)

        answer: Any = answer_all
    else:

        @ticket.node(writes="reply")
        async def answer_one(letter: Letter) -> str:
            return f"to {letter.text}"

        answer = answer_one
    wait = ticket.sleep(writes="waited", seconds=timedelta(hours=1))
    ticket.rules(
        when("no reply yet", lambda c: c.reply is None, answer),
        when("not waited yet", lambda c: c.waited is None, wait),
        otherwise(finish("answered")),
    )
    return ticket
