"""Mails that a desk once got wrong, written after public reports. They are no part of the project; -s prints how many end right."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tiers
from pointsman import CaseRow, Status, history_of
from pointsman_desk import desk as at_desk
from pointsman_desk.cli.one_case import print_case
from pointsman_desk.cli.terminal import console
from pointsman_desk.config import DeskConfig
from pointsman_desk.wiring import open_desk

# The mails that do not end right yet, each with what is wrong. Whoever mends one takes its line out.
NOT_YET: dict[str, str] = {}


@dataclass(frozen=True)
class Right:
    """What is right for a mail: a person has it before them, and `show` says all of this."""

    shows: tuple[str, ...]
    text: str | None = None
    notes: bool = False
    to: str | None = None


REPORTED = {
    "own-text-attribution-en": Right(("I want that refund now, or I will call my lawyer.",)),
    "own-text-attribution-de": Right(("Ich will jetzt mein Geld zurück, sonst gehe ich zum Anwalt.",)),
    "below-unmarked-quote": Right(("No, I want a refund.",)),
    "contact-form": Right(("The lamp is broken, I want my money back.",)),
    "gt-line": Right(("3 weeks late, I want my money back",)),
    "b6-separator-ruler-then-from": Right(("Please refund the order instead, I will not be here.",)),
    "b8-indented-blockquote": Right(("Two plates of order A-1011 arrived broken. I want my money back.",)),
    "phone-sig-ps": Right(("PS: If it is not here tomorrow I want a refund.",)),
    "device-sentence": Right(("I still want my money back.",)),
    "v23-second-request-below-dashes": Right(("And please cancel the two bulbs, I do not need them any more.",)),
    "v31-answer-below-33kB-of-quote": Right(("I want my money back and call my lawyer.",)),
    "mso-comment": Right(("And I want a refund for the broken lamp.",)),
    "plain-differs-short-html": Right(("I want my money back and I will go to court.",)),
    "named-inline-body": Right(("I want a refund for order A-1002.",)),
    "stop-payment": Right(("I would like to stop payment.",)),
    "date-first-attribution2": Right(("Refund",), text="Refund"),
    "subject-undelivered": Right(("I want my money back.",)),
    "subject-abwesend": Right(("Ich will mein Geld zurück für A-1002.",)),
    "subject-nonremis": Right(("Je veux être remboursé.",)),
    "google-group": Right(("I want a refund for order A-1002, the lamp is broken.", "john.smith@post.example")),
    "crm-list-unsubscribe": Right(("I want a refund for order A-1002, the lamp is broken.",)),
    "form-auto-submitted": Right(("I want a refund for order A-1002, the lamp is broken.",)),
    "a8-exchange-rule-forwarded": Right(("Two plates arrived broken. I want my money back.",)),
    "a9-null-return-path": Right(("where is the invoice for my order A-1011?",)),
    "form-noreply-replyto": Right(("I want a refund for order A-1002, the lamp is broken.", "john.smith@post.example")),
    "d7-web-form-own-address": Right(("Where is my order A-1011?", "emma.brown@post.example")),
    "d10-cc-colleague": Right(("My wife is in copy, please answer both of us.", "mary.jones@other.example")),
    "base64-footer-utf8-de": Right(("ich möchte mein Geld für Bestellung A-1003 zurück.", "support mailing list")),
    "base64-footer-euckr": Right(("안녕하세요, 주문 A-1003 환불해 주세요.", "support mailing list")),
    "one-bad-byte-euckr": Right(("환불해 주세요", "감사합니다"), notes=True),
    "iso2022jp-esc-J": Right(("返金をお願いします",)),
    "c1-iso2022jp-no-charset": Right(("返金してください",), notes=True),
    "c6-html-meta-koi8r": Right(("Верните деньги",)),
    "d1-pec": Right(("I WANT MY MONEY BACK FOR MY ORDER. INNER TEXT",)),
    "d2-forwarded-as-attachment": Right(("I WANT MY MONEY BACK FOR MY ORDER. INNER TEXT",)),
    "d3-smime-opaque-signed": Right(("I WANT MY MONEY BACK FOR A-1011. SIGNED TEXT",)),
    "d5-calendar-only": Right(("I come on Friday at 10 to return the plates. CALENDAR TEXT",)),
    "d11-idn-sender": Right(("Wann haben Sie geöffnet?",), to="joerg@xn--mller-kva.example"),
}


@dataclass(frozen=True)
class Ended:
    """What became of a mail, and what `show` prints of it."""

    row: CaseRow
    state: dict[str, Any]
    shown: str


def folder() -> Path:
    """Where the mails are; without them their tests are skipped, and say so."""
    found = tiers.real_mails().parent / "reported"
    if not found.is_dir():
        pytest.skip(f"there are no reported mails in {found}; POINTSMAN_MAIL_DATA names the folder beside it")
    return found


@pytest.fixture(scope="module", name="ended")
def _ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """Each mail at a desk of its own, which knows nothing of the others."""
    mails = {file.stem: file.read_bytes() for file in sorted(folder().glob("*.eml"))}

    async def main() -> dict[str, Ended]:
        return {name: await worked_off(raw, tmp_path_factory.mktemp("desk")) for name, raw in mails.items()}

    return asyncio.run(main())


async def worked_off(raw: bytes, home: Path) -> Ended:
    (home / "mailbox").mkdir()
    (home / "mailbox" / "mail.eml").write_bytes(raw)
    config = DeskConfig(
        home=home / "desk", mailbox=home / "mailbox", address="support@haus-und-hof.example", authserv="mx.haus-und-hof.example"
    )
    async with open_desk(config, models=()) as desk:
        await at_desk.work_off(desk, lambda name: None, asyncio.Event())
        [row] = await desk.engine.reader.cases()
        history = await history_of(desk.engine.reader, row.id)
    with console.capture() as shown:
        print_case(history)
    return Ended(row, history.state, " ".join(shown.get().split()))


def wrong(right: Right, ended: Ended) -> list[str]:
    """What is wrong about the end of a mail; nothing where it is right."""
    mail = ended.state["mail"]
    found = [f"does not show {words!r}" for words in right.shows if words not in ended.shown]
    if right.to is not None:
        sent_to = (ended.state.get("outgoing") or {}).get("to")
        return [*found, *([] if sent_to == right.to else [f"its answer goes to {sent_to}"])]
    if ended.row.status is not Status.WAITING:
        found.append(f"ends as {ended.row.status} ({ended.row.outcome or ended.row.reason})")
    if right.text is not None and mail["text"] != right.text:
        found.append(f"its text is {mail['text']!r}")
    if right.notes and not mail["notes"]:
        found.append("notes nothing")
    return found


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(reason=NOT_YET[name], strict=True, raises=AssertionError)) if name in NOT_YET else name
        for name in REPORTED
    ],
)
def test_a_reported_mail_is_shown_to_a_person(name: str, ended: dict[str, Ended]) -> None:
    assert wrong(REPORTED[name], ended[name]) == []


def test_each_reported_mail_is_judged(ended: dict[str, Ended]) -> None:
    right = [name for name, one in ended.items() if name in REPORTED and not wrong(REPORTED[name], one)]

    print(f"\n{len(ended)} reported mails: {len(right)} right")
    assert set(ended) == set(REPORTED), os.fspath(folder())
    assert NOT_YET.keys() <= REPORTED.keys()
