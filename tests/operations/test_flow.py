"""What the newest events tell about throughput and answers."""

from pointsman.kernel.rows import EventRow
from pointsman.operations.figures import Spread, spread_of
from pointsman.operations.flow import Bucket, Flow


def event(kind: str, at: float, case: int = 1, step: str | None = None) -> EventRow:
    return EventRow("", case, 1, kind, step, 0, at, "{}")


def test_the_median_and_the_95th_percentile_are_values_that_occurred() -> None:
    assert spread_of(range(1, 101)) == Spread(100, 50, 95)
    assert spread_of([7.0]) == Spread(1, 7.0, 7.0)
    assert spread_of([3, 1]) == Spread(2, 1, 3)
    assert spread_of([]) == Spread(0, 0, 0)


def test_starts_and_ends_are_counted_in_the_span_in_which_they_came() -> None:
    flow = Flow()
    flow.take([event("accepted", at) for at in (0.0, 99.0, 100.0, 250.0, 299.0)])
    flow.take([event("finished", 199.0), event("cancelled", 299.0), event("decided", 299.0)])

    assert flow.buckets(250.0, 100.0, 2) == [Bucket(100.0, 1, 1), Bucket(200.0, 2, 1)]
    assert flow.since == 0.0


def test_an_answer_is_paired_with_its_own_pause() -> None:
    flow = Flow()
    flow.take([event("paused", 10.0, 1, "approve"), event("paused", 20.0, 2, "approve"), event("paused", 30.0, 3, "sign")])
    flow.take([event("resumed", 70.0, 2, "approve"), event("resumed", 20.0, 1, "approve")])
    late = event("resumed", 90.0, 9, "approve")
    flow.take([late])

    assert flow.answer_times() == {"approve": Spread(2, 10.0, 50.0)}
    assert flow.unpaired == [late]
    flow.answered(late, 10.0)
    assert flow.answer_times()["approve"] == Spread(3, 50.0, 80.0)
