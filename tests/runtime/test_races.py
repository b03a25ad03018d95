"""What comes at the worst moment: messages, ends, cancels and deadlines that meet each other."""

from places import Place, run
from pydantic import BaseModel, Field
from test_messages import Desk, answering, mail

from pointsman import (
    Log,
    Process,
    State,
    finish,
    otherwise,
)


class Asked(State):
    text: str
    notes: Log[str] = Field(default_factory=list)
    answer: str | None = None


class Done(State):
    text: str
    result: str | None = None


# Held messages.


def test_held_messages_keep_their_order_their_keys_and_the_tenant_of_their_case(place: Place) -> None:
    process = answering("hold")

    async def main() -> None:
        async with place.open(process, resources={"desk": Desk()}) as engine:
            await engine.send(process, mail(1), tenant="acme", priority=3)
            for number in (2, 3):
                assert (await engine.send(process, mail(number), tenant="acme", priority=3)).how == "held"
            for _ in range(2):
                await engine.idle()
                open_one = (await engine.reader.cases())[-1].id
                await engine.cancel(open_one, by="anna", why="next")
            await engine.idle()

            rows = await engine.reader.cases()
            assert [(await engine.state(row.id)).mail.id for row in rows] == ["m1", "m2", "m3"]
            assert {(row.tenant, row.priority) for row in rows} == {("acme", 3)}
            assert await engine.send(process, mail(3)) == (rows[2].id, "duplicate")

    run(main())


def test_a_held_message_that_no_longer_fits_stays_held_and_keeps_nobody_waiting(place: Place) -> None:
    class Stricter(BaseModel):
        id: str
        thread: str
        text: str = Field(max_length=10)

    class Later(State):
        mail: Stricter

    stricter = Process("answering", Later)
    stricter.accept(Stricter, writes="mail", correlate=lambda m: m.thread, key=lambda m: m.id, while_open="hold")
    stricter.rules(otherwise(finish("sent")))

    async def main() -> None:
        async with place.open(answering("hold"), resources={"desk": Desk()}) as engine:
            for number, thread in ((1, "a"), (2, "b")):
                await engine.send("answering", mail(number, thread=thread))
            await engine.send("answering", mail(3, "much too long for it", thread="a"))
            await engine.send("answering", mail(4, "short", thread="b"))
            await engine.idle()
            engine._holds_messages = False  # dies before it can deliver
            for case in (1, 2):
                await engine.cancel(case, by="anna", why="test")
        async with place.open(stricter) as engine:
            await engine.idle()
            assert [row.key for row in await engine.reader.held()] == ["m3"]
            assert [row.outcome for row in await engine.reader.cases(after=2)] == ["sent"]

    run(main())
