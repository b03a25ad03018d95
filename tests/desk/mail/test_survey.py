"""A look at mails without taking them in."""

import itertools

from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.survey import survey


def test_a_survey_counts_what_reading_gave_and_names_the_slowest() -> None:
    mails = [
        Found("a", b"From: a@b.example\nDate: Mon, 2 Nov 2026 10:00:00 +0100\nMessage-ID: <1@b.example>\n\nHello"),
        Found("b", b"From: no-reply@b.example\nMessage-ID: <2@b.example>\n\nHello"),
        Found("c", None, "The mail c cannot be read (Permission denied); make the file readable."),
        Found("d", b"From: a@b.example\nMessage-ID: <3@b.example>\nList-Id: <l.b.example>\n\nHello"),
    ]
    clock = itertools.accumulate([0.0, 0.5, 1.0, 3.0, 1.0, 0.25])
    names: list[str] = []

    found = survey(mails, lambda: next(clock), names.append)

    assert found.as_json() == {
        "mails": 3,
        "exceptions": 0,
        "slowest_seconds": 3.0,
        "notes": {"no-date": 2},
        "automatic": 2,
        "problems": 1,
    }
    assert (found.slowest, names) == ("b", ["a", "b", "c", "d"])
    assert found.automatic == {"automatic": 1, "mailing list": 1}
    assert found.problems == ["The mail c cannot be read (Permission denied); make the file readable."]
