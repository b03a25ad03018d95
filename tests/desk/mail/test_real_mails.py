"""Mails that nobody here wrote: each is read, none slowly. The tier prints its counts with -s."""

import io
import json
import time
from collections import Counter
from datetime import UTC, datetime
from email import message_from_bytes, policy

import tiers
from pointsman_desk.case import Language, Mail, Reply, Tone
from pointsman_desk.mail.compose import REFERENCES_LAST, Letterhead, compose, is_address, reply_to
from pointsman_desk.mail.message import NO_ID_DOMAIN, read_mail
from pointsman_desk.mail.sources.places import mails_at
from pointsman_desk.mail.survey import survey

MAILS_MIN = 1_000  # fewer, and the folder is not the one that the figures are about


def test_every_real_mail_is_read_without_a_fault_and_none_takes_a_second() -> None:
    folder = tiers.real_mails()

    found = survey(mails_at([str(folder)], io.BytesIO()), time.process_time, lambda name: None)

    print(json.dumps(found.as_json() | {"slowest": found.slowest, "automatic": found.automatic}))
    assert found.mails >= MAILS_MIN
    assert (found.exceptions, found.problems) == (0, [])
    assert found.slowest_seconds < 1.0, found.slowest


def reply_as_sent(mail: Mail) -> bytes:
    reply = Reply(subject="", body="We are looking into it.\n", language=Language.GERMAN, tone=Tone.WARM, author="Sam")
    letterhead = Letterhead("support@shop.example", "Haus & Hof, Grünwald")
    return compose(
        reply_to(
            mail, reply, letterhead,
            to=mail.sender, message_id="case-1.4711@shop.example", date=datetime(2026, 11, 22, tzinfo=UTC), automatic=False,
        )
    )  # fmt: skip


def test_every_real_mail_can_be_answered_in_its_thread() -> None:
    mails = [read_mail(found.raw) for found in mails_at([str(tiers.real_mails())], io.BytesIO()) if found.raw is not None]

    unanswerable = Counter(mail.sender for mail in mails if not is_address(mail.sender))
    answered = [mail for mail in mails if mail.sender not in unanswerable]
    strays, altered = [], []
    for mail in answered:
        raw = reply_as_sent(mail)
        parsed, ours = message_from_bytes(raw, policy=policy.default), read_mail(raw)
        parent = () if mail.message_id.endswith(f"@{NO_ID_DOMAIN}") else (mail.message_id,)
        earlier = [one for one in ours.references if one not in parent]
        if ours.references[len(earlier) :] != parent or not set(earlier) <= {*mail.references, mail.in_reply_to}:
            strays.append((mail.message_id, ours.references))
        if ours.text != "We are looking into it." or parsed["to"] != mail.sender or len(earlier) > REFERENCES_LAST + 1:
            altered.append(mail.message_id)

    longer = sum(bool(mail.references) for mail in answered)
    print(
        f"{len(answered)} real mails answered in their threads, {longer} of them longer ones; no address to answer to: {dict(unanswerable)}"
    )
    assert len(answered) >= MAILS_MIN
    assert (strays, altered) == ([], [])
