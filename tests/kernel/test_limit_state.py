"""What a limit gives out: never more than it says, never less for ever, whatever order calls begin and end in."""

from collections.abc import Collection
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman import DefinitionError, NotSent, Rejected
from pointsman.definition.limits import CircuitBreaker, Intake, Limit, check_limits
from pointsman.kernel.limits import (
    HOLD_MAX_SECONDS,
    OVERDUE_SECONDS,
    REFUSALS_FREE,
    REFUSED_MAX,
    Ended,
    Ending,
    GivePermit,
    LimitState,
    TakePermit,
    changed,
    ending_of,
    opens_at,
    room,
    state_of,
    text_of,
)

BEGUN = 1_000.0


def take(
    limit: Limit, state: LimitState, holder: str, *, now: float, until: float, alive: Collection[str] = ()
) -> tuple[LimitState, float | None]:
    told = changed(state, TakePermit(limit, holder, now, until, frozenset(alive)))
    return told.state, told.refused_until


def give(limit: Limit, state: LimitState, holder: str, ending: Ending, *, now: float, case: int = 0) -> tuple[LimitState, Ended]:
    told = changed(state, GivePermit(limit, holder, ending, now, case))
    return told.state, told.ended


def taken(limit: Limit, state: LimitState, *holders: str, now: float = BEGUN, until: float = BEGUN + 30) -> LimitState:
    for holder in holders:
        state, wait = take(limit, state, holder, now=now, until=until)
        assert wait is None
    return state


def test_a_fifth_call_waits_for_the_first_of_four() -> None:
    limit = Limit("llm", concurrency=4)
    state = taken(limit, LimitState(), "a", "b", "c", "d")

    refused, wait = take(limit, state, "e", now=BEGUN + 1, until=BEGUN + 31)
    freed, _ = give(limit, state, "b", "well", now=BEGUN + 1)

    assert (refused, wait) == (state, BEGUN + 30)
    assert room(limit, state, BEGUN + 1) == 0
    assert room(limit, freed, BEGUN + 1) == 1
    assert set(taken(limit, freed, "e", now=BEGUN + 1).permits) == {"a", "c", "d", "e"}


def test_a_dead_engines_permit_comes_free_by_itself_and_a_living_ones_does_not() -> None:
    limit = Limit("llm", concurrency=1)
    state = taken(limit, LimitState(), "a")

    assert opens_at(limit, state, BEGUN + 29) == BEGUN + 30
    assert room(limit, state, BEGUN + 30) == 1
    assert room(limit, state, BEGUN + 30, alive={"a"}) == 0
    assert opens_at(limit, state, BEGUN + 30, alive={"a"}) == BEGUN + 30 + OVERDUE_SECONDS
    assert room(limit, state, BEGUN + 30, alive={"of another limit"}) == 1


def test_a_lower_concurrency_in_new_code_waits_for_as_many_as_are_too_many() -> None:
    state = LimitState()
    for number in range(4):
        state = taken(Limit("llm", concurrency=4), state, str(number), until=BEGUN + 10 + number)

    assert opens_at(Limit("llm", concurrency=2), state, BEGUN) == BEGUN + 12
    assert room(Limit("llm", concurrency=2), state, BEGUN + 12) == 1


def test_what_begins_in_a_second_is_spaced_evenly() -> None:
    limit, state, now, begun = Limit("mail", per_second=4), LimitState(), BEGUN, []
    while len(begun) < 9:
        state, wait = take(limit, state, str(len(begun)), now=now, until=now + 1)
        begun += [now] if wait is None else []
        now = wait if wait is not None else now

    assert begun == [BEGUN + number / 4 for number in range(9)]


def test_a_quiet_time_buys_no_burst() -> None:
    limit = Limit("mail", per_second=4)
    state = taken(limit, LimitState(), "a")

    assert room(limit, state, BEGUN + 3_600) == 1
    assert take(limit, taken(limit, state, "b", now=BEGUN + 3_600), "c", now=BEGUN + 3_600, until=0.0)[1] == BEGUN + 3_600.25


def test_a_refusal_holds_the_resource_and_the_longest_hold_counts() -> None:
    limit = Limit("llm", concurrency=4)
    state = taken(limit, LimitState(), "a", "b")

    state, long = give(limit, state, "a", 60.0, now=BEGUN)
    state, short = give(limit, state, "b", 5.0, now=BEGUN + 1)

    assert (long.holds, short.holds) == (BEGUN + 60, BEGUN + 60)
    assert (long.counts, short.counts) == (False, False)
    assert room(limit, state, BEGUN + 59.9) == 0
    assert room(limit, state, BEGUN + 60) == 4


def test_no_downstream_holds_a_resource_for_longer_than_a_day() -> None:
    state, ended = give(Limit("llm"), LimitState(), "a", 1e12, now=BEGUN)

    assert ended.holds == state.held_until == BEGUN + HOLD_MAX_SECONDS


def test_a_case_that_is_refused_while_others_get_through_uses_its_attempts_in_the_end() -> None:
    limit, state = Limit("llm"), LimitState()
    counted = []
    for _ in range(REFUSALS_FREE + 2):
        state, ended = give(limit, state, "poison", 1.0, now=BEGUN, case=7)
        counted.append(ended.counts)
        state, _ = give(limit, state, "other", "well", now=BEGUN, case=8)

    assert counted == [False] * REFUSALS_FREE + [True] * 2


def test_an_outage_uses_nobodys_attempts() -> None:
    limit, state = Limit("llm"), LimitState()

    for _ in range(10 * REFUSALS_FREE):
        state, ended = give(limit, state, "a", 1.0, now=BEGUN, case=7)
        assert not ended.counts


def test_what_is_remembered_of_refusals_is_bounded() -> None:
    limit, state = Limit("llm"), LimitState()

    for case in range(3 * REFUSED_MAX):
        state, _ = give(limit, state, "a", 1.0, now=BEGUN, case=case)

    assert len(state.refused) == REFUSED_MAX
    assert str(3 * REFUSED_MAX - 1) in state.refused


BREAKER = Limit("llm", breaker=CircuitBreaker(failures=3, cooldown_seconds=60))


def failed(state: LimitState, times: int, *, now: float = BEGUN) -> LimitState:
    for number in range(times):
        holder = f"failing {number}"
        state = taken(BREAKER, state, holder, now=now)
        state, _ = give(BREAKER, state, holder, "failed", now=now)
    return state


def test_a_breaker_opens_after_failures_in_a_row_only() -> None:
    state = failed(LimitState(), 2)
    state, _ = give(BREAKER, taken(BREAKER, state, "w"), "w", "well", now=BEGUN)
    assert room(BREAKER, failed(state, 2), BEGUN) > 0

    state = taken(BREAKER, failed(state, 2), "last")
    state, ended = give(BREAKER, state, "last", "failed", now=BEGUN)

    assert ended.opens == BEGUN + 60
    assert room(BREAKER, state, BEGUN + 59.9) == 0
    assert room(BREAKER, state, BEGUN + 60) == 1


def test_one_call_is_tried_and_its_end_decides() -> None:
    cool = BEGUN + 60
    state = taken(BREAKER, failed(LimitState(), 3), "trial", now=cool, until=cool + 30)
    assert take(BREAKER, state, "second", now=cool, until=cool + 30)[1] == cool + 30

    again, ended = give(BREAKER, state, "trial", "failed", now=cool + 1)
    closed, well = give(BREAKER, state, "trial", "well", now=cool + 1)
    nothing, _ = give(BREAKER, state, "trial", "nothing", now=cool + 1)

    assert ended.opens == cool + 61 == opens_at(BREAKER, again, cool + 1)
    assert well.closes
    assert room(BREAKER, closed, cool + 1) > 1
    assert room(BREAKER, nothing, cool + 1) == 1


def test_a_trial_whose_engine_died_is_tried_again_when_its_permit_has_passed() -> None:
    cool = BEGUN + 60
    state = taken(BREAKER, failed(LimitState(), 3), "trial", now=cool, until=cool + 30)

    assert taken(BREAKER, state, "second", now=cool + 30, until=cool + 60).trial == "second"


def test_a_call_that_was_begun_before_the_breaker_opened_decides_nothing() -> None:
    state = failed(taken(BREAKER, LimitState(), "early", until=BEGUN + 300), 3)

    for ending in ("well", "failed"):
        after, ended = give(BREAKER, state, "early", ending, now=BEGUN + 90)
        assert (after.open_until, ended.opens, ended.closes) == (state.open_until, None, False)


def test_a_limit_without_a_breaker_counts_no_failures() -> None:
    state = LimitState()
    for _ in range(99):
        state, ended = give(Limit("llm"), state, "a", "failed", now=BEGUN)
        assert ended.opens is None

    assert opens_at(Limit("llm"), state, BEGUN) == BEGUN


def test_taking_the_breaker_out_of_the_code_closes_it() -> None:
    assert room(Limit("llm"), failed(LimitState(), 3), BEGUN) > 1


class Quota(Exception):
    def __init__(self, retry_after: object) -> None:
        super().__init__("too many requests")
        self.retry_after = retry_after


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (None, "well"),
        (Rejected("no such account"), "well"),
        (NotSent("refused"), "failed"),
        (NotSent("busy", retry_after=20), 20.0),
        (Quota(3), 3.0),
        (Quota(0), "failed"),
        (Quota(-1), "failed"),
        (Quota(float("nan")), "failed"),
        (Quota(float("inf")), "failed"),
        (Quota("soon"), "failed"),
        (Quota(True), "failed"),
        (ValueError("x"), "failed"),
    ],
)
def test_the_exception_says_how_a_call_ended(error: Exception | None, ending: Ending) -> None:
    assert ending_of(error) == ending


def test_a_state_is_stored_whole() -> None:
    limit = Limit("llm", concurrency=2, per_second=3, breaker=CircuitBreaker(1, 5))
    state = taken(limit, LimitState(), "a")
    state, _ = give(limit, state, "b", 7.5, now=BEGUN, case=8)
    state, _ = give(limit, state, "c", "failed", now=BEGUN)

    assert state_of(text_of(state)) == state
    assert state_of(None) == LimitState()


class _Call:
    def __init__(self, until: float) -> None:
        self.until = until


STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "well", "failed", "nothing", "refused", "later", "die"]), st.integers(0, 7), st.floats(0.01, 40)),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.integers(1, 4), st.sampled_from([None, 0.5, 7.0]), st.sampled_from([None, CircuitBreaker(2, 10)]))
def test_no_history_ever_lets_one_call_too_many_through_or_closes_a_limit_for_ever(
    steps: list[tuple[str, int, float]], concurrency: int, per_second: float | None, breaker: CircuitBreaker | None
) -> None:
    limit = Limit("llm", concurrency, per_second, breaker)
    state, now, begun = LimitState(), BEGUN, list[float]()
    running: dict[str, _Call] = {}  # calls that really are under way, also those of engines that have died
    alive: set[str] = set()
    for number, (step, which, seconds) in enumerate(steps):
        state = state_of(text_of(state))
        running = {holder: call for holder, call in running.items() if call.until > now or holder in alive}
        holder = sorted(alive)[which % len(alive)] if alive else None
        if step == "later":
            now += seconds
        elif step == "take":
            had_room = room(limit, state, now, alive)
            state, wait = take(limit, state, f"call {number}", now=now, until=now + seconds, alive=alive)
            assert (wait is None) == (had_room > 0)
            assert wait is None or wait > now
            if wait is None:
                running[f"call {number}"] = _Call(now + seconds)
                alive.add(f"call {number}")
                begun.append(now)
        elif step == "die":
            alive.clear()
        elif holder is not None:
            ending: Ending = seconds if step == "refused" else step  # type: ignore[assignment]
            state, _ = give(limit, state, holder, ending, now=now, case=which)
            del running[holder]
            alive.discard(holder)
        assert len(running) <= concurrency
    if per_second is not None:
        assert all(after - before >= 1 / per_second - 1e-9 for before, after in pairwise(begun))
    assert room(limit, state, now + HOLD_MAX_SECONDS) > 0


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (lambda: Limit(" "), "give it a name"),
        (lambda: Limit("llm", concurrency=0), "at least 1"),
        (lambda: Limit("llm", per_second=0), "more than 0"),
        (lambda: Limit("llm", per_second=float("inf")), "more than 0"),
        (lambda: Limit("llm", per_second=float("nan")), "more than 0"),
        (lambda: CircuitBreaker(failures=0), "at least 1"),
        (lambda: CircuitBreaker(cooldown_seconds=0), "for how many seconds"),
        (lambda: Intake(backlog_max=0), "backlog_max is 0"),
        (lambda: Intake(tenant_backlog_max=-1), "tenant_backlog_max is -1"),
        (lambda: check_limits("engine", [Limit("llm", 4), Limit("llm", 4), Limit("llm", 5)]), "declare it once"),
    ],
)
def test_an_impossible_declaration_is_refused(declare: object, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        declare()  # type: ignore[operator]


def test_the_same_limit_may_be_declared_twice() -> None:
    check_limits("engine", [Limit("llm", 4), Limit("llm", 4), Limit("mail")])
