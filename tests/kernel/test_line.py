"""The order of the line: priority, then tenants in turn, then age; and no more of a limited kind than there is room for."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pointsman.kernel.line import TURNS_MAX, Due, take_turns


def due(case: int, *, tenant: str = "", priority: int = 0, needs: str = "", since: float | None = None) -> Due:
    return Due(priority, tenant, needs, float(case) if since is None else since, case)


def test_the_longest_due_goes_first() -> None:
    assert take_turns([due(1, since=9), due(2, since=3), due(3, since=5)], 2, {}, {}) == [2, 3]


def test_a_higher_priority_goes_before_an_older_case() -> None:
    assert take_turns([due(1), due(2, priority=5), due(3, priority=-1)], 3, {}, {}) == [2, 1, 3]


def test_tenants_take_turns_however_many_cases_one_has() -> None:
    crowd = [due(case, tenant="a") for case in range(1, 9)]

    assert take_turns([*crowd, due(20, tenant="b"), due(21, tenant="c"), due(22, tenant="c")], 6, {}, {}) == [1, 20, 21, 2, 22, 3]


def test_the_next_claim_continues_after_the_tenant_of_the_last_turn() -> None:
    turns: dict[int, str] = {}
    line = [due(case, tenant=tenant) for case, tenant in enumerate("aaabbbccc")]

    first = take_turns(line, 2, {}, turns)
    second = take_turns([one for one in line if one.case not in first], 2, {}, turns)

    assert [line[case].tenant for case in first + second] == ["a", "b", "c", "a"]


def test_of_so_many_priorities_only_the_turns_are_remembered() -> None:
    """Whoever makes a priority of a time would have one for each case."""
    turns: dict[int, str] = {}

    for number in range(2 * TURNS_MAX):
        assert take_turns([due(number, priority=number)], 1, {}, turns) == [number]

    assert list(turns) == list(range(TURNS_MAX, 2 * TURNS_MAX))


def test_a_limit_takes_no_more_than_its_room_and_holds_up_nothing_else() -> None:
    line = [due(case, needs="llm") for case in range(1, 9)] + [due(20), due(21, needs="mail")]

    assert take_turns(line, 9, {"llm": 2, "mail": 0}, {}) == [1, 2, 20]


LINES = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from("abcd"), st.sampled_from(["", "llm", "mail"]), st.integers(0, 9)), max_size=40
)


@given(LINES, st.integers(1, 12), st.integers(0, 4))
def test_every_claim_is_full_fair_and_within_its_room(line: list[tuple[int, str, str, int]], count: int, llm: int) -> None:
    cases = {number: Due(*row, number) for number, row in enumerate(line)}

    chosen = take_turns(cases.values(), count, {"llm": llm}, {})

    needs = Counter(cases[case].needs for case in chosen)
    possible = sum(one.needs != "llm" for one in cases.values()) + min(llm, sum(one.needs == "llm" for one in cases.values()))
    assert len(set(chosen)) == len(chosen) == min(count, possible)
    assert needs["llm"] <= llm
    assert [cases[case].priority for case in chosen] == sorted((cases[case].priority for case in chosen), reverse=True)
    if llm >= len(line):  # nobody is kept back: of one priority, no tenant gets two more than another that still has cases
        for left in set(cases) - set(chosen):
            level = [cases[case].tenant for case in chosen if cases[case].priority == cases[left].priority]
            assert all(level.count(tenant) <= level.count(cases[left].tenant) + 1 for tenant in level)
