"""What the command prints: letter by letter what was written, whoever wrote it, and never without a case's number."""

import json
from pathlib import Path
from typing import Any

import pytest

from pointsman import CaseRow, History, Status, format_time
from pointsman.kernel.rows import EventRow, FieldRow
from pointsman_desk.case import Intent
from pointsman_desk.cli.lists import print_cases
from pointsman_desk.cli.one_case import print_case
from pointsman_desk.cli.reports import print_run
from pointsman_desk.cli.terminal import complain, console, safe
from pointsman_desk.config import DeskConfig
from pointsman_desk.desk import Run
from pointsman_desk.mail.lookalikes import both_forms
from pointsman_desk.steps import MAY_ANSWER, PROBABLY_AUTOMATIC

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

    [_, section, headings, reason, row] = shown.get().splitlines()
    assert section == "Waiting for your decision (1)"
    assert headings.split() == ["case", "about", "from", "subject"]
    assert reason == "the risk is not low (1)"
    assert row.split()[:3] == ["10123", "change_address", "jane@customer.example"]


def test_whatever_its_status_a_case_is_listed() -> None:
    for status in Status:
        with console.capture() as shown:
            print_cases([{"id": 7, "status": status, "why": "", "intents": [], "from": None, "subject": ""}])

        assert shown.get().split()[-3:] == ["7", "(no", "subject)"]


def _case(number: int, status: str, why: str, *intents: str, outcome: str | None = None) -> dict[str, Any]:
    return {"id": number, "status": status, "why": why, "outcome": outcome, "intents": intents, "from": "", "subject": "", "came_at": 0.0}


MIXED = [
    _case(1, "done", "sent", "order_status", outcome="sent"),
    _case(2, "waiting", PROBABLY_AUTOMATIC),
    _case(3, "waiting", "the risk is not low", "cancel_order"),
    _case(4, "waiting", "refund, complaint, legal or unclear", "unclear"),
    _case(5, "waiting", "refund, complaint, legal or unclear", "refund"),
    _case(6, "waiting", "refund, complaint, legal or unclear", "legal", "order_status"),
    _case(7, "cancelled", "sold", "order_status"),
    _case(8, "cancelled", "a joke", "order_status"),
    _case(9, "parked", "nobody knows whether the reply was sent", "order_status"),
    _case(10, "ready", "the reply could not be sent yet and will be retried", "order_status"),
    _case(11, "waiting", MAY_ANSWER, "order_status"),
    _case(12, "done", "automatic", outcome="automatic"),
    _case(13, "waiting", "the draft breaks a rule", "complaint"),
    _case(14, "waiting", "refund, complaint, legal or unclear", "complaint", "unclear"),
]


def test_what_waits_for_a_person_is_listed_first_and_the_gravest_of_it_before_the_rest() -> None:
    with console.capture() as shown:
        print_cases(MIXED, now=100.0)

    lines = shown.get().splitlines()
    assert [int(line.split()[0]) for line in lines if line.split() and line.split()[0].isdigit()] == [
        6, 5, 14, 4, 13, 3, 9, 2, 10, 1, 11, 12, 7, 8,
    ]  # fmt: skip
    assert [line for line in lines if line.endswith(")") and line[0].isupper()] == [
        "Waiting for your decision (6)", "Stopped; something must be fixed (1)", "Probably automatic (1)",
        "In progress; the desk continues these (1)", "Sent (2)", "Ended without a reply (3)",
    ]  # fmt: skip
    assert lines[lines.index("Probably automatic (1)") + 1] == "To close all of these: pointsman-desk close --probably-automatic"
    assert "cancelled (2)" in lines


def test_the_list_of_what_a_command_closes_does_not_name_that_command() -> None:
    with console.capture() as shown:
        print_cases(MIXED[1:2], now=100.0, closing=True)

    assert "Probably automatic (1)" in shown.get()
    assert "--probably-automatic" not in shown.get()


def test_the_subject_has_room_on_a_terminal_of_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 80)
    subject, sender = "Where is my order A-1002, please?", "john.smith@post.example"

    with console.capture() as shown:
        print_cases([_case(10_123, "waiting", "the risk is not low", "change_address") | {"subject": subject, "from": sender}], now=7_200.0)

    headings, row = (line for line in shown.get().splitlines() if line.startswith((" case", "10123")))
    assert headings.split() == ["case", "about", "from", "subject", "age"]
    assert row == "10123 change_address john.smith@post.examp… Where is my order A-1002, p…    2 h "
    assert len(row) == 80


def _row(case: dict[str, Any]) -> CaseRow:
    step = "sort" if case["why"] == PROBABLY_AUTOMATIC else "approve"
    return CaseRow(
        case["id"], "support-mail", 1, None, Status(case["status"]), 2, 1, None, 1, 3, step, case["why"], None, case["outcome"], 0.0, 0.0
    )  # fmt: skip


def _history(row: CaseRow, state: dict[str, Any]) -> History:
    return History(row, tuple(FieldRow(name, json.dumps(value), "", 1) for name, value in state.items()), (), (), None)


def _told_of_a_run(cases: list[dict[str, Any]], run: Run, folder: Path) -> list[str]:
    config = DeskConfig(home=folder, mailbox=folder)
    with console.capture() as shown:
        print_run(run, cases, [_row(case) for case in cases], config, "model", now=100.0, watched=False)
    return shown.get().splitlines()


@pytest.mark.parametrize("intent", [*Intent])
def test_the_draft_for_a_grave_mail_is_not_offered_unread(intent: Intent, tmp_path: Path) -> None:
    lines = _told_of_a_run([_case(6, "waiting", "for a person", "order_status", intent)], Run(started=[6]), tmp_path)

    [hint] = (line for line in lines if line.startswith("To read"))
    read, send = "To read the first case: pointsman-desk show 6.", " To send its reply: pointsman-desk approve 6."
    assert hint == (read if intent in {"legal", "refund", "complaint", "unclear"} else read + send)


def test_the_counts_of_a_run_add_up(tmp_path: Path) -> None:
    lines = _told_of_a_run(MIXED, Run(started=[*range(1, 14)], joined=[3], known=2), tmp_path)

    first, in_all = (line for line in lines if line.startswith(("The desk", "14 cases")))
    assert first == "The desk (model) read 16 mails: 14 new (1 of them in open cases), 2 known."
    assert in_all == (
        "14 cases in total: 6 waiting for your decision, 1 stopped, 1 probably automatic, 1 in progress, 2 sent, 3 ended without a reply."
    )


def test_a_case_that_will_be_tried_again_says_what_failed() -> None:
    row = CaseRow(1, "support-mail", 1, None, Status.READY, 2, 1, 9.0, 1, 3, "send", "it is not sent", None, None, 0.0, 0.0)
    failures = [
        EventRow(str(number), 1, 2, "effect.not_sent", "send", number, 0.0, json.dumps({"key": "k", "message": f"no answer {number}\x1b."}))
        for number in (1, 2)
    ]

    with console.capture() as shown:
        print_case(History(row, (), tuple(failures), (), None))

    failed, goes_on = shown.get().splitlines()[-2:]
    assert failed == "The last attempt to send failed: no answer 2."
    assert goes_on.startswith(f"Next attempt: at {format_time(9.0)}")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("jane@customer.example", "jane@customer.example"),
        ("jane@xn--mller-kva.example", "jane@xn--mller-kva.example (müller.example)"),
        ("jane@müller.example", "jane@xn--mller-kva.example (müller.example)"),
        ("jane@xn--80ak6aa92e.com", "jane@xn--80ak6aa92e.com (аррӏе.com; in Cyrillic letters)"),
        ("x@xn--pypal-4ve.com", "x@xn--pypal-4ve.com (pаypal.com; careful: 'pаypal' mixes Latin and Cyrillic letters)"),
        ("pаypal@bank.example", "pаypal@bank.example (careful: 'pаypal' mixes Latin and Cyrillic letters)"),
        ("x@xn--wgv71a119e.jp", "x@xn--wgv71a119e.jp (日本語.jp; in Chinese letters)"),
        ("x@東京タワー.jp", "x@xn--5ck2eqb538s34z.jp (東京タワー.jp)"),
        ("x@xn--ls8h.la", "x@xn--ls8h.la (💩.la)"),
        ("x@xn--a.example", "x@xn--a.example"),
        ("x@xn--999999999999.example", "x@xn--999999999999.example"),
        ("nobody", "nobody"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_domain_of_other_letters_is_shown_in_both_forms(address: str, shown: str) -> None:
    assert both_forms(address) == shown


def test_a_case_shows_both_forms_of_its_addresses() -> None:
    row = CaseRow(1, "support-mail", 1, None, Status.WAITING, 2, 1, 9.0, 1, 3, "approve", "", None, None, 0.0, 0.0)
    mail = {
        "sender": "a@x.example",
        "subject": "x",
        "text": "Hello",
        "reply_to": "b@xn--mller-kva.example",
        "cc": ["c@xn--mller-kva.example"],
    }
    outgoing = {
        "to": "d@xn--mller-kva.example",
        "cc": ["e@xn--mller-kva.example"],
        "subject": "x",
        "raw": "",
        "sha256": "",
        "message_id": "",
    }

    with console.capture() as shown:
        print_case(_history(row, {"customer_id": "f@xn--mller-kva.example", "mail": mail, "outgoing": outgoing}))

    assert [name for name in "abcdef" if f"{name}@xn--mller-kva.example (müller.example)" in shown.get()] == [*"bcdef"]


def test_what_may_be_the_customers_own_words_is_shown_in_full() -> None:
    row = CaseRow(1, "support-mail", 1, None, Status.WAITING, 2, 1, 9.0, 1, 3, "approve", "", None, None, 0.0, 0.0)
    doubtful = "\n".join(f"> line {number} [bold]" for number in range(300))

    mail = {"subject": "x", "text": "Hello", "doubtful": doubtful, "quoted": "> a\n> b", "notes": ["doubtful-lines"]}

    with console.capture() as shown:
        print_case(_history(row, {"mail": mail}))

    assert f"Hello\nPossibly also written by the customer:\n{doubtful}\n(2 quoted lines)" in shown.get()
