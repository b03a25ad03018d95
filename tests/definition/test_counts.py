"""Numbers with their nouns."""

import pytest

from pointsman import format_count


@pytest.mark.parametrize(("number", "told"), [(0, "0 cases"), (1, "1 case"), (2, "2 cases"), (1_001, "1,001 cases")])
def test_a_noun_agrees_with_its_number(number: int, told: str) -> None:
    assert format_count(number, "case") == told
