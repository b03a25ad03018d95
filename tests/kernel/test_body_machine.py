"""Entrypoints through the case machine alone: no store, no event loop, no clock."""

from collections import Counter

import pytest
from body_walk import body_walk

from pointsman.functional.program import BodyProgram
from pointsman.kernel.machine import NEXT
from pointsman.kernel.snapshot import Status
from tiers import figure, seed

WALKS = figure("BODY_WALKS", 300)


def test_no_walk_of_a_body_loses_doubles_or_strands_anything(capsys: pytest.CaptureFixture[str]) -> None:
    walks = [body_walk(number) for number in range(seed(), seed() + WALKS)]

    bad = [told for one in walks for told in one.violations]
    kinds = Counter(told.split(":")[0] for told in bad)
    crashes = sum(one.crashes for one in walks)
    with capsys.disabled():
        print(
            f"\n{WALKS} walks of bodies, {crashes} crashes: {kinds['lost']} lost, {kinds['duplicated']} duplicated, {len(bad)} violations"
        )
    assert bad == []
    assert crashes > WALKS / 10
    assert {one.case.row.status for one in walks} == {Status.DONE, Status.CANCELLED, Status.PARKED}


def test_no_happening_raises_for_a_body_in_any_status() -> None:
    walks = [body_walk(number, tries=True) for number in range(400)]

    assert [told for one in walks for told in one.violations] == []
    assert sum(one.refused for one in walks) > 1_000
    tried = {pair for one in walks for pair in one.tried}
    elsewhere = {"StartAsked", "BranchesRested", "ChildStarted", "TransactionEnded"}  # no walk makes them up
    assert {kind.__name__ for kind, _ in tried} == {kind.__name__ for kind in NEXT} - elsewhere
    assert {status for _, status in tried} == set(Status)


def test_a_body_that_forgets_what_it_has_seen_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BodyProgram, "_notes", lambda *_: {})

    assert any(body_walk(number).violations for number in range(100))
