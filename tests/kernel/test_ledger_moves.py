"""What each policy allows after a call that may have happened, at every boundary of time and number."""

import pytest

from pointsman import AtLeastOnce, AtMostOnce, Context, Idempotent, Process, Reconcile, Retry, Safety, State
from pointsman.definition.effects import AnyEffect
from pointsman.kernel.ledger import CallAgain, GiveUp, LookUp, Move, WaitUntil, move_in_doubt

TIMEOUT = 30.0  # of one call, in seconds
BEGUN = 1_000.0  # when the first intent was committed
DEADLINE = BEGUN + TIMEOUT


class Letter(State):
    reply: str
    receipt: str | None = None


def look(reply: str) -> object:
    return reply


def effect(safety: Safety, attempts_max: int = 3) -> AnyEffect:
    def send(reply: str, *, ctx: Context) -> str:
        return reply

    return Process("letter", Letter).effect(
        send, writes="receipt", safety=safety, timeout_seconds=TIMEOUT, retry=Retry(attempts_max=attempts_max)
    )


def move(safety: Safety, *, attempts: int = 1, now: float = DEADLINE, attempts_max: int = 3) -> Move:
    return move_in_doubt(effect(safety, attempts_max), attempts=attempts, intended_at=BEGUN, deadline=DEADLINE, now=now)


@pytest.mark.parametrize("now", [BEGUN, DEADLINE, DEADLINE + 1e9])
def test_at_most_once_gives_up_at_once_and_for_ever(now: float) -> None:
    given_up = move(AtMostOnce(), now=now)

    assert isinstance(given_up, GiveUp)
    assert "forbids another" in given_up.reason


@pytest.mark.parametrize("safety", [Idempotent(), AtLeastOnce("the reader ignores a second one")], ids=["key", "again"])
def test_a_repeatable_call_is_called_again_until_its_attempts_are_used_up(safety: Safety) -> None:
    moves = [move(safety, attempts=attempts) for attempts in (1, 2, 3, 4)]

    assert moves[:2] == [CallAgain(), CallAgain()]
    assert [type(given_up) for given_up in moves[2:]] == [GiveUp, GiveUp]
    assert isinstance(moves[2], GiveUp)
    assert "3 calls ended in doubt" in moves[2].reason


@pytest.mark.parametrize("safety", [Idempotent(), AtLeastOnce("the reader ignores a second one")], ids=["key", "again"])
def test_a_single_attempt_is_never_repeated(safety: Safety) -> None:
    assert isinstance(move(safety, attempts=1, attempts_max=1), GiveUp)


def test_a_key_without_an_end_is_used_at_any_time() -> None:
    assert move(Idempotent(), now=BEGUN + 1e12) == CallAgain()


@pytest.mark.parametrize(
    ("now", "again"),
    [
        (BEGUN + 600 - TIMEOUT - 0.001, True),
        (BEGUN + 600 - TIMEOUT, False),
        (BEGUN + 600 - TIMEOUT + 0.001, False),
        (BEGUN + 600, False),
    ],
    ids=["just before", "exactly", "just after", "at its end"],
)
def test_a_key_is_only_used_while_the_whole_call_falls_into_its_life(now: float, again: bool) -> None:
    answer = move(Idempotent(key_ttl_seconds=600), now=now)

    assert (answer == CallAgain()) is again
    assert again or (isinstance(answer, GiveUp) and "forgotten its key" in answer.reason)


def test_the_life_of_a_key_begins_with_the_first_intent_and_not_with_the_last_call() -> None:
    renewed = move_in_doubt(effect(Idempotent(key_ttl_seconds=600)), attempts=2, intended_at=BEGUN, deadline=BEGUN + 590, now=BEGUN + 590)

    assert isinstance(renewed, GiveUp)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (BEGUN, WaitUntil(DEADLINE + 120)),
        (DEADLINE, WaitUntil(DEADLINE + 120)),
        (DEADLINE + 119.999, WaitUntil(DEADLINE + 120)),
        (DEADLINE + 120, LookUp()),
        (DEADLINE + 1e9, LookUp()),
    ],
    ids=["at once", "deadline", "just before", "exactly", "long after"],
)
def test_a_look_up_waits_until_the_old_call_can_no_longer_arrive(now: float, expected: Move) -> None:
    assert move(Reconcile(look, 120), now=now) == expected


def test_without_a_propagation_time_the_look_up_is_at_the_deadline() -> None:
    assert move(Reconcile(look, 0), now=DEADLINE - 0.001) == WaitUntil(DEADLINE)
    assert move(Reconcile(look, 0), now=DEADLINE) == LookUp()


def test_a_look_up_is_allowed_however_often_the_effect_was_called() -> None:
    assert move(Reconcile(look, 0), attempts=99) == LookUp()


def test_what_is_allowed_depends_on_nothing_but_its_arguments() -> None:
    moves = {move(Reconcile(look, 120), now=DEADLINE) for _ in range(3)}

    assert moves == {WaitUntil(DEADLINE + 120)}
