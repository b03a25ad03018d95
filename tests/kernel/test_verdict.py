"""When a step of several branches ends, and how."""

from itertools import pairwise, permutations
from typing import Any

import pytest

from pointsman import quorum
from pointsman.definition.rules import Failures, Parallel
from pointsman.kernel.verdict import Tally, verdict_of


def verdict(failures: Failures, *numbers: int) -> Any:
    found = verdict_of(Parallel((), failures), Tally(*numbers))
    return None if found is None else "parked" if found.parked else "written"


@pytest.mark.parametrize(
    ("failures", "numbers", "expected"),
    [
        # branches, succeeded, failed, fatal
        (None, (3, 2, 0, 0), None),
        (None, (3, 2, 1, 0), "written"),
        (None, (3, 1, 1, 1), None),
        (None, (3, 2, 1, 1), "parked"),
        (None, (0, 0, 0, 0), "written"),
        ("fail", (3, 0, 1, 1), "parked"),
        ("fail", (3, 2, 0, 0), None),
        ("fail", (3, 3, 0, 0), "written"),
        ("record", (3, 0, 2, 0), None),
        ("record", (3, 0, 3, 0), "written"),
        (quorum(2), (3, 1, 0, 0), None),
        (quorum(2), (3, 2, 0, 0), "written"),
        (quorum(2), (3, 1, 1, 0), None),
        (quorum(2), (3, 0, 2, 0), "parked"),
        (quorum(2), (1, 1, 0, 0), "parked"),
        (quorum(1), (0, 0, 0, 0), "parked"),
    ],
)
def test_the_verdict_is_as_declared(failures: Failures, numbers: tuple[int, ...], expected: str | None) -> None:
    assert verdict(failures, *numbers) == expected


@pytest.mark.parametrize("failures", ["fail", "record", quorum(2), None])
def test_more_ends_never_change_a_verdict(failures: Failures) -> None:
    for order in set(permutations("sssff")):
        seen = [
            verdict(failures, 5, order[:n].count("s"), order[:n].count("f"), order[:n].count("f") * (failures is None)) for n in range(6)
        ]

        assert seen[-1] is not None
        assert all(later == earlier for earlier, later in pairwise(seen) if earlier is not None)


def test_a_quorum_says_how_far_it_was() -> None:
    reached, missed = (verdict_of(Parallel((), quorum(2)), Tally(4, *ends, 0)) for ends in ((2, 1), (1, 3)))

    assert reached is not None
    assert reached.why == "2 of 4 have succeeded, and 2 were needed"
    assert missed is not None
    assert missed.why == "2 of 4 were needed, and 1 can succeed"
