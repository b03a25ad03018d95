"""Automatic replies are counted beside cases that are in no database, as they are in one."""

from pathlib import Path

import pytest

from pointsman import Blob, Context, Idempotent, Log, verify
from pointsman_desk.case import Allowance, Incoming
from pointsman_desk.nodes.bounds import DAY_SECONDS, Bounds, allow_beside
from pointsman_desk.process import support_mail

NOON = 1_795_000_000.0


def allowed(bounds: Bounds, case: int, mail: str = "one", at: float = NOON) -> Allowance:
    came = Incoming(email_id=mail, sender="anna@mail.example", key=mail, conversation="", raw=Blob.of(b""), at=at)
    return allow_beside(Log([came]), bounds=bounds, ctx=Context(case, "allow_beside", 1, at))


@pytest.fixture
def bounds(tmp_path: Path) -> Bounds:
    return Bounds(case_hour=1, address_day=2, file=tmp_path / "bounds.db")


def test_a_repeated_call_counts_its_reply_once(bounds: Bounds) -> None:
    granted = [allowed(bounds, case).granted for case in (1, 1, 1, 2)]

    assert granted == [True] * 4


def test_replies_to_an_address_end_at_its_limit_for_a_day(bounds: Bounds) -> None:
    granted = [allowed(bounds, case).granted for case in (1, 2, 3)]
    tomorrow = allowed(bounds, 3, at=NOON + DAY_SECONDS + 1)

    assert granted == [True, True, False]
    assert tomorrow.granted


def test_a_second_mail_of_a_case_within_an_hour_gets_none(bounds: Bounds) -> None:
    first, second = allowed(bounds, 1), allowed(bounds, 1, "two")

    assert (first.granted, second.granted) == (True, False)


def test_the_rules_keep_their_invariants_where_replies_are_counted_beside_the_cases() -> None:
    verified = verify(support_mail(Idempotent(), counts_beside=True), states_max=1)

    assert len(verified.proved) == 3
