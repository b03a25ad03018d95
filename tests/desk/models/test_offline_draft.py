"""The templates answer every intent in every language, with facts of the shop only, and pass every check."""

import asyncio
import re
from datetime import date
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from random import Random

import pytest

from pointsman import Violation
from pointsman_desk.case import (
    Grounds,
    Intent,
    Item,
    Language,
    Mail,
    NoOrder,
    Order,
    Policy,
    Reply,
    Risk,
    Tone,
    Trust,
)
from pointsman_desk.models.base import Brief, reply_subject
from pointsman_desk.models.offline import LABEL, OfflineModel
from pointsman_desk.models.replies import write_reply
from pointsman_desk.models.words import read_data
from pointsman_desk.nodes.draft import drafted
from pointsman_desk.nodes.validate import validate
from pointsman_desk.shop.policy import PolicyFile

SAMPLE = Path(__file__).parents[3] / "src" / "pointsman_desk" / "sample" / "policy.toml"
POLICY = PolicyFile(SAMPLE).current()
ORDER = Order(
    number="A-1001",
    email="maria.keller@mail.example",
    customer="Maria Keller",
    status="shipped",
    items=(Item(name="Linen curtains", quantity=1, price=Decimal("49.90")),),
    shipping=Decimal("6.90"),
    total=Decimal("56.80"),
    currency="EUR",
    placed_on=date(2026, 11, 9),
    due_on=date(2026, 11, 16),
    shipped_on=date(2026, 11, 12),
    carrier="Nordpost",
    tracking="NP4471001",
)
NOBODY = {"due_on": None, "shipped_on": None, "carrier": None, "tracking": None}
FACTS: dict[str, Order | NoOrder] = {
    "shipped": ORDER,
    "placed": ORDER.model_copy(update={"status": "placed", **NOBODY}),
    "packed": ORDER.model_copy(update={"status": "packed", "shipped_on": None, "carrier": None, "tracking": None}),
    "delivered in time": ORDER.model_copy(update={"status": "delivered", "delivered_on": date(2026, 11, 15)}),
    "delivered late": ORDER.model_copy(update={"status": "delivered", "delivered_on": date(2026, 11, 18)}),
    "delivered some day": ORDER.model_copy(update={"status": "delivered"}),
    "cancelled": ORDER.model_copy(update={"status": "cancelled", **NOBODY}),
    "shipped without a date": ORDER.model_copy(update=NOBODY),
    "free shipping": ORDER.model_copy(update={"shipping": Decimal("0.00")}),
    "dear shipping": ORDER.model_copy(update={"shipping": Decimal("500.00")}),
    "another currency": ORDER.model_copy(update={"currency": "USD"}),
    "a name that is none": ORDER.model_copy(update={"customer": "see www.win.example now <b>"}),
    "no such order": NoOrder(asked="A-9999", reason="no order with this number"),
    "another customer's": NoOrder(asked="A-1002", reason="the order is another customer's"),
    "no order at all": NoOrder(reason="no order from this address"),
}
DATES = (None, "2026-11-15T09:00:00+01:00", "2026-11-19T09:00:00+01:00")


def brief(
    intent: Intent,
    language: Language = Language.ENGLISH,
    *,
    facts: Order | NoOrder = ORDER,
    written: str | None = None,
    policy: Policy = POLICY,
    text: str = "",
) -> Brief:
    mail = Mail(message_id="m1@mail.example", sender="a@mail.example", subject="A question", date=written, text=text)
    return Brief(
        trust=Trust.BOUND, mail=mail, intents=(intent,), risk=Risk.LOW, grounds=Grounds(language=language), order=facts, policy=policy
    )


def draft(work: Brief) -> Reply:
    return write_reply(work, author=LABEL)


def violations(work: Brief, reply: Reply) -> list[str]:
    verdict = validate(reply, work.mail, work.intents, work.grounds, work.order, work.policy, work.trust)
    return [f"{found.check}: {found.message}" for found in verdict.violations]


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("intent", Intent)
@pytest.mark.parametrize("known", FACTS)
def test_every_reply_passes_the_checks_by_construction(language: Language, intent: Intent, known: str) -> None:
    works = [brief(intent, language, facts=FACTS[known], written=written) for written in DATES]

    replies = [draft(work) for work in works]

    assert [violations(work, reply) for work, reply in zip(works, replies, strict=True)] == [[], [], []]
    assert not any("{" in reply.body or "None" in reply.body for reply in replies)
    assert {reply.template.split("/")[:2] == [intent, language] for reply in replies if reply.template} == {True}


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("intents", list(combinations(Intent, 2)))
def test_a_reply_to_two_questions_holds_the_texts_of_both_and_is_no_reviewed_template(
    language: Language, intents: tuple[Intent, Intent]
) -> None:
    briefs = [
        brief(intents[0], language, facts=facts, written=DATES[2]).model_copy(update={"intents": intents}) for facts in FACTS.values()
    ]

    replies = [draft(both) for both in briefs]

    assert [violations(both, reply) for both, reply in zip(briefs, replies, strict=True)] == [[]] * len(briefs)
    assert {reply.template for reply in replies} == {None}
    for both, reply in zip(briefs, replies, strict=True):
        for intent in set(intents) - {Intent.UNCLEAR}:
            alone = draft(both.model_copy(update={"intents": (intent,)})).body.split("\n\n")[2:-1]
            assert set(alone) <= set(reply.body.split("\n\n"))


@pytest.mark.parametrize("language", Language)
def test_each_language_has_every_text_of_every_intent_and_tone(language: Language) -> None:
    texts = read_data("templates.toml")

    promises = texts.pop("promises")
    assert {part: set(texts[language][part]) for part in texts[language]} == {part: set(texts["en"][part]) for part in texts["en"]}
    assert set(Intent) <= set(texts[language])
    assert all(set(variants) <= set(texts[language][intent]) for intent, variants in promises.items())
    assert all(set(texts[language][part]) == set(Tone) for part in ("greeting", "apology", "closing"))


WE_DO = {
    Language.ENGLISH: r"colleague|we (?:are \w+ing|will (?!look into it)|shall)|will write|has been passed|from them",
    Language.GERMAN: r"kollegin|wir (?:fragen|prüfen|erstatten|schreiben)|schreiben ihnen|teilt ihnen|liegt der person",
    Language.FRENCH: r"notre équipe|nous (?:demandons|vérifions|vous remboursons|vous écrirons)|a été transmis|réponse de sa part",
    Language.SPANISH: r"nuestro equipo|estamos \w+ndo|le (?:escribiremos|reembolsamos)|lo hemos pasado|respuesta de esta persona",
}


@pytest.mark.parametrize("language", Language)
def test_a_template_that_may_leave_without_a_person_promises_nothing_that_one_has_to_do(language: Language) -> None:
    texts = read_data("templates.toml")
    promises = texts["promises"]

    for intent in Intent:
        for variant, text in texts[language][intent].items():
            says = re.search(WE_DO[language], text.lower()) is not None
            assert says is (variant in promises.get(intent, ())), (intent, variant)
    assert not any(re.search(WE_DO[language], text.lower()) for text in texts[language]["shared"].values())


@pytest.mark.parametrize("language", Language)
def test_a_late_order_is_told_as_a_fact_and_an_invoice_is_a_promise(language: Language) -> None:
    late = draft(brief(Intent.ORDER_STATUS, language, written=DATES[2]))
    invoice = draft(brief(Intent.INVOICE, language))

    assert (late.template, late.promises) == (f"order_status/{language}/late", False)
    assert (invoice.template, invoice.promises) == (f"invoice/{language}/order", True)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("intent", Intent)
@pytest.mark.parametrize("tone", Tone)
def test_every_reply_passes_a_policy_of_another_shop(language: Language, intent: Intent, tone: Tone) -> None:
    strict = POLICY.model_copy(
        update={
            "approved_tones": (tone,),
            "apology_required": tuple(Intent),
            "shipping_refunded_when_late": False,
            "refund_max": Decimal("1.00"),
        }
    )
    works = [brief(intent, language, facts=facts, written=DATES[2], policy=strict) for facts in FACTS.values()]

    replies = [draft(work) for work in works]

    assert [violations(work, reply) for work, reply in zip(works, replies, strict=True)] == [[] for _ in works]
    assert {reply.tone for reply in replies} == {tone}


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("intent", Intent)
@pytest.mark.parametrize("known", ["no such order", "another customer's", "no order at all"])
def test_without_an_order_nothing_is_said_of_any_order(language: Language, intent: Intent, known: str) -> None:
    reply = draft(brief(intent, language, facts=FACTS[known], text="Where is A-1002, and A-9999?"))

    assert not any(number in reply.body for number in ("1001", "1002", "9999", "Maria", "Nordpost", "EUR"))


@pytest.mark.parametrize("language", Language)
def test_three_reasons_for_no_order_read_the_same_to_the_customer(language: Language) -> None:
    known = ("no such order", "another customer's", "no order at all")

    bodies = {draft(brief(Intent.ORDER_STATUS, language, facts=FACTS[reason])).body for reason in known}

    assert len(bodies) == 1


def test_the_reply_to_the_article_refunds_the_shipping_of_the_late_order() -> None:
    text = "My order hasn't arrived and I need it for Monday. Can you refund shipping?"

    reply = draft(brief(Intent.REFUND, written="Wed, 18 Nov 2026 08:41:52 +0100", text=text))

    assert reply.body == (
        "Hello Maria Keller,\n\n"
        "Thank you for your message; you asked us about a refund. "
        "We are very sorry for the trouble that you have had.\n\n"
        "Your order A-1001 was due on 16 November 2026 and did not arrive in time. "
        "We will refund the shipping of 6.90 EUR, as our policy says for late orders.\n\n"
        "The carrier is Nordpost, and the tracking number is NP4471001.\n\n"
        "Kind regards\n"
        "Your Haus & Hof team\n"
        "support@haus-und-hof.example"
    )
    assert (reply.subject, reply.author, reply.template) == ("A question", "rule-based, no AI", "refund/en/late")


@pytest.mark.parametrize(
    ("known", "written", "shipping_refunded", "template"),
    [
        ("shipped", "2026-11-18T08:41:52+01:00", True, "refund/en/late"),
        ("delivered late", None, True, "refund/en/late"),
        ("shipped", "2026-11-18T08:41:52+01:00", False, "refund/en/checking"),
        ("shipped", "2026-11-16T23:59:59+01:00", True, "refund/en/checking"),
        ("shipped", None, True, "refund/en/checking"),
        ("shipped", "some day in autumn", True, "refund/en/checking"),
        ("shipped without a date", "2026-11-18T08:41:52+01:00", True, "refund/en/checking"),
        ("delivered in time", "2026-11-18T08:41:52+01:00", True, "refund/en/delivered"),
        ("cancelled", "2026-11-18T08:41:52+01:00", True, "refund/en/cancelled"),
        ("free shipping", "2026-11-18T08:41:52+01:00", True, "refund/en/checking"),
        ("dear shipping", "2026-11-18T08:41:52+01:00", True, "refund/en/checking"),
        ("another currency", "2026-11-18T08:41:52+01:00", True, "refund/en/checking"),
    ],
)
def test_a_refund_is_promised_only_for_a_late_order_where_the_policy_allows_it(
    known: str, written: str | None, shipping_refunded: bool, template: str
) -> None:
    policy = POLICY.model_copy(update={"shipping_refunded_when_late": shipping_refunded})

    reply = draft(brief(Intent.REFUND, facts=FACTS[known], written=written, policy=policy))

    assert reply.template == template
    assert ("We will refund" in reply.body) == template.endswith("late")


def test_what_the_customer_writes_is_never_a_fact() -> None:
    poison = "I am {{signature}} and my order A-7777 cost 999.00 EUR, see http://win.example"

    replies = [draft(brief(intent, text=poison)) for intent in Intent]

    assert not any(word in reply.body for reply in replies for word in ("7777", "999", "win.example"))


def test_a_fact_that_looks_like_a_slot_stays_as_it_is() -> None:
    reply = draft(brief(Intent.ORDER_STATUS, facts=ORDER.model_copy(update={"carrier": "{{customer.name}}"})))

    assert "The carrier is {{customer.name}}, and" in reply.body


def test_a_name_that_is_no_name_is_not_greeted() -> None:
    reply = draft(brief(Intent.ORDER_STATUS, facts=FACTS["a name that is none"]))

    assert reply.body.startswith("Hello,\n")


def test_a_subject_keeps_to_one_line() -> None:
    work = brief(Intent.INVOICE)
    work = work.model_copy(update={"mail": work.mail.model_copy(update={"subject": "Invoice\r\n for  A-1001 "})})

    reply = draft(work)

    assert reply.subject == "Invoice for A-1001"


def test_a_repair_takes_back_a_promise() -> None:
    work = brief(Intent.REFUND, written=DATES[2])
    first = draft(work)
    against = (Violation(check="refund_within_policy", message="it promises a refund"),)

    mended = asyncio.run(drafted(work, OfflineModel(), Random(1), against, first.body)).output

    assert mended is not None
    assert (first.template, mended.template) == ("refund/en/late", "refund/en/checking")
    assert violations(work, mended) == []


def test_a_reply_passes_no_link_of_the_mails_subject_on() -> None:
    mail = Mail(
        message_id="m@post.example", sender="a@post.example", subject="Look  at HTTPS://win-now.test/x, Www.win-now.test or a@win.test now"
    )

    assert reply_subject(mail) == "Look at … … or … now"
