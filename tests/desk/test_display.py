"""What the command prints: letter by letter what was written, whoever wrote it, and never without a case's number."""

import json

import pytest

from pointsman import CaseRow, History, Status, format_time
from pointsman.kernel.rows import EventRow
from pointsman_desk.cli.lists import print_cases
from pointsman_desk.cli.one_case import print_case
from pointsman_desk.cli.terminal import complain, console, safe

HOSTILE = "\x1b[2J\x1b]0;title\x07[bold]:smile: \u202egro.elif\u200b \x9b31m[/] \\"


def test_what_a_stranger_wrote_is_text_and_nothing_else() -> None:
    with console.capture() as shown:
        console.print(f"[bold]{safe(HOSTILE)}[/]")

    assert shown.get() == "[2J]0;title[bold]:smile: gro.elif 31m[/] \\\n"


def test_a_complaint_says_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    complain(f"the file {HOSTILE} is missing.")

    assert capsys.readouterr().err == "pointsman-desk: the file [2J]0;title[bold]:smile: gro.elif 31m[/] \\ is missing.\n"


@pytest.mark.parametrize("subject", ["Hours", "Where is it? " * 20, "\u6587" * 90])
def test_each_case_is_listed_with_its_number(subject: str) -> None:
    case = {"id": 10_123, "status": "waiting", "why": "the risk is not low", "intents": ["change_address"], "from": "jane@customer.example"}

    with console.capture() as shown:
        print_cases([case | {"subject": subject}])

    [_, heading, row] = shown.get().splitlines()
    assert heading == "waiting: the risk is not low (1)"
    assert row.split()[:3] == ["10123", "change_address", "jane@customer.example"]


def test_whatever_its_status_a_case_is_listed() -> None:
    for status in Status:
        with console.capture() as shown:
            print_cases([{"id": 7, "status": status, "why": "", "intents": [], "from": None, "subject": ""}])

        assert f"{status}: " in shown.get()


def test_a_case_that_will_be_tried_again_says_what_failed() -> None:
    row = CaseRow(1, "support-mail", 1, None, Status.READY, 2, 1, 9.0, 1, 3, "send", "it is not sent", None, None, 0.0, 0.0)
    failures = [
        EventRow(number, 1, 2, "effect.not_sent", "send", number, 0.0, json.dumps({"key": "k", "message": f"no answer {number}\x1b."}))
        for number in (1, 2)
    ]

    with console.capture() as shown:
        print_case(History(row, {}, {}, tuple(failures), (), None))

    failed, goes_on = shown.get().splitlines()[-2:]
    assert failed == "The last attempt to send failed: no answer 2."
    assert goes_on.startswith(f"It goes on at {format_time(9.0)}")


def test_what_may_be_the_customers_own_words_is_shown_in_full() -> None:
    row = CaseRow(1, "support-mail", 1, None, Status.WAITING, 2, 1, 9.0, 1, 3, "approve", "", None, None, 0.0, 0.0)
    doubtful = "\n".join(f"> line {number} [bold]" for number in range(300))

    mail = {"subject": "x", "text": "Hello", "doubtful": doubtful, "quoted": "> a\n> b", "notes": ["doubtful-lines"]}

    with console.capture() as shown:
        print_case(History(row, {"mail": mail}, {}, (), (), None))

    assert f"Hello\nPerhaps the customer's own words, too:\n{doubtful}\n(2 quoted lines)" in shown.get()
