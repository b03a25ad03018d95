"""What mailboxes hand over is acknowledged when it is taken in, and not before."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from pointsman import Busy, Started
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.bookmark import LATE_POLLS, Bookmark

MAILS = [Found("a", b"a"), Found("b", b"b"), Found("c", b"c")]


class Cases:
    """Starts a case for each mail. It can fail, be full, or be told to stop at the mail with a name."""

    def __init__(self, at: str = "", error: Exception | None = None) -> None:
        self.names: list[str] = []
        self.stop = asyncio.Event()
        self._at, self._error = at, error

    async def take(self, found: Found) -> Started:
        if found.name == self._at:
            self._at = ""
            self.stop.set()
            if self._error is not None:
                raise self._error
        self.names.append(found.name)
        return Started(len(self.names), duplicate=False)


async def handed_over(arrivals: Arrivals, mails: Sequence[Found]) -> asyncio.Task[list[Started | None]]:
    task = asyncio.create_task(arrivals.hand_over(mails))
    await arrivals.news.wait()
    return task


def test_a_batch_is_acknowledged_with_the_cases_of_its_mails() -> None:
    async def take() -> tuple[list[Started | None], bool]:
        arrivals, cases = Arrivals(), Cases()
        task = await handed_over(arrivals, MAILS)
        await arrivals.take_in(cases.take, cases.stop)
        return await task, arrivals.news.is_set()

    started, news = asyncio.run(take())

    assert started == [Started(1, duplicate=False), Started(2, duplicate=False), Started(3, duplicate=False)]
    assert not news


@pytest.mark.parametrize("error", [None, OSError("the disk is full")], ids=["stopped", "failed"])
def test_a_batch_that_is_not_ended_is_taken_in_again_from_its_beginning(error: Exception | None) -> None:
    async def take() -> tuple[bool, list[str], int]:
        arrivals, cases = Arrivals(), Cases("b", error)
        task = await handed_over(arrivals, MAILS)
        with suppress(OSError):
            await arrivals.take_in(cases.take, cases.stop)
        early, cases.stop = task.done() or not arrivals.news.is_set(), asyncio.Event()
        await arrivals.take_in(cases.take, cases.stop)
        return early, cases.names, len(await task)

    early, names, acknowledged = asyncio.run(take())

    assert not early
    assert names[-3:] == ["a", "b", "c"]
    assert acknowledged == 3


def test_a_desk_without_room_says_so_to_who_asked_and_goes_on_with_the_next() -> None:
    async def take() -> tuple[BaseException | None, int]:
        arrivals, cases = Arrivals(), Cases("a", Busy("there is no room", retry_after=5.0))
        refused, taken = await handed_over(arrivals, MAILS[:1]), await handed_over(arrivals, MAILS[1:])
        await asyncio.sleep(0)
        await arrivals.take_in(cases.take, asyncio.Event())
        return (await asyncio.gather(refused, return_exceptions=True))[0], len(await taken)  # type: ignore[return-value]

    refusal, taken = asyncio.run(take())

    assert isinstance(refusal, Busy)
    assert taken == 2


def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    async def take() -> list[str]:
        arrivals, cases = Arrivals(), Cases()
        task = await handed_over(arrivals, MAILS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await arrivals.take_in(cases.take, cases.stop)
        return cases.names

    assert asyncio.run(take()) == []


@pytest.mark.parametrize(
    ("known", "health"),
    [
        ({}, "new"),
        ({"looked_at": 1_000.0 - LATE_POLLS * 60.0}, "well"),
        ({"looked_at": 999.0 - LATE_POLLS * 60.0}, "late"),
        ({"looked_at": 1_000.0, "error": "refused"}, "failing"),
    ],
)
def test_the_health_of_a_mailbox_is_one_word(known: dict[str, float | str], health: str) -> None:
    assert Bookmark.model_validate({"place": "a", **known}).health(1_000.0, 60.0) == health


def test_a_desk_that_stops_sends_away_who_waits_and_who_comes() -> None:
    async def ask() -> list[object]:
        arrivals = Arrivals()
        waiting = await handed_over(arrivals, MAILS)
        arrivals.close()
        return await asyncio.gather(waiting, arrivals.hand_over(MAILS), return_exceptions=True)

    assert [type(answer) for answer in asyncio.run(ask())] == [Busy, Busy]
