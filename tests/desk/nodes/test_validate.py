"""Each check on a reply lets a good one through and names what is wrong with a bad one."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from desk.guards.replies import IN_TIME, LATE, NO_ORDER, POLICY
from pointsman_desk.case import Grounds, Intent, Language, Mail, NoOrder, Order, Policy, Reply, Tone, Trust
from pointsman_desk.guards import _once
from pointsman_desk.nodes.validate import validate

MAIL = Mail(message_id="m1@mail.example", sender="jonas.weber@mail.example", sender_name="Jonas Weber", date="2026-11-18T08:41:52+01:00")
GOOD = "Hello,\n\nthank you for your message. We are sorry that you have to wait for your order.\n\nKind regards"


def problems(
    body: str,
    *,
    intent: Intent = Intent.ORDER_STATUS,
    order: Order | NoOrder = LATE,
    policy: Policy = POLICY,
    language: Language = Language.ENGLISH,
    labelled: Language | None = None,
    tone: Tone = Tone.WARM,
    subject: str = "Question",
) -> list[str]:
    reply = Reply(subject=subject, body=body, language=labelled or language, tone=tone, author="Ada")
    mail = MAIL.model_copy(update={"subject": subject})
    return [found.check for found in validate(reply, mail, (intent,), Grounds(language=language), order, policy, Trust.BOUND).violations]


def said(sentence: str, **what: object) -> list[str]:
    return problems(f"{GOOD}\n\n{sentence}", **what)  # type: ignore[arg-type]


def test_a_good_reply_has_no_violations() -> None:
    assert problems(GOOD, intent=Intent.REFUND) == []


@pytest.mark.parametrize(
    ("language", "body"),
    [
        (Language.ENGLISH, "Hello, we apologise for the delay of your order, and we will look into it today."),
        (Language.GERMAN, "Guten Tag, das tut uns sehr leid, wir sehen heute noch nach Ihrer Bestellung."),
        (Language.FRENCH, "Bonjour, nous vous prions d'accepter nos excuses pour le retard de votre commande."),
        (Language.SPANISH, "Hola, lamentamos el retraso de su pedido y lo vamos a mirar hoy mismo por usted."),
    ],
)
def test_an_apology_is_recognised_in_each_language(language: Language, body: str) -> None:
    assert problems(body, intent=Intent.COMPLAINT, language=language) == []


@pytest.mark.parametrize(
    "body",
    [
        "Hello, thank you for your message, we will look into it and write to you.",
        "Hello, we see no reason to be sorry for the delay of your order at all.",
        "Hello, lamentamos that you have to wait for your order, and we will write to you.",
    ],
)
def test_a_missing_apology_is_named_where_the_policy_asks_for_one(body: str) -> None:
    assert problems(body, intent=Intent.REFUND) == ["apology_included"]
    assert problems(body, intent=Intent.ORDER_STATUS) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "The shipping was 24.90 EUR.",
        "The shipping was EUR 24.90.",
        "The shipping was €24.90.",
        "The shipping was 24,90 euros.",
        "Two cots at 39 EUR are 78.00 EUR.",
        "The total is 102.90 €, and 78.00 EUR without shipping.",
        "Ordered on 8.11.2026, 2 pieces, 24.90 EUR.",
    ],
)
def test_an_amount_of_the_order_may_be_named(sentence: str) -> None:
    assert said(sentence) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "You get 25.00 EUR from us.",
        "You get €500 from us.",
        "You get 24.90 USD from us.",
        "You get 1.024,90 EUR from us.",
        "You get 24.900 EUR from us.",
        "You get fifty euros from us.",
        "You get 2490 EUR from us.",
        "You get \uff12\uff15 EUR from us.",  # full-width digits
        "You get 20 % off your next order.",
        "You get ten percent off your next order.",
    ],
)
def test_an_amount_that_is_no_fact_is_named(sentence: str) -> None:
    assert "facts_only" in said(sentence)


def test_an_amount_above_the_limit_is_named_even_when_it_is_a_fact() -> None:
    dear = LATE.model_copy(update={"total": Decimal("263.90")})

    assert said("The total is 263.90 EUR.", order=dear) == ["facts_only"]


def test_without_an_order_no_amount_is_a_fact() -> None:
    assert said("The shipping was 24.90 EUR.", order=NO_ORDER) == ["facts_only"]


PROMISES = [
    (Language.ENGLISH, "We are sorry for the delay. We will refund the shipping of 24.90 EUR to you today."),
    (Language.GERMAN, "Es tut uns leid. Wir erstatten Ihnen die Versandkosten von 24,90 EUR für die Bestellung."),
    (
        Language.FRENCH,
        "Nous sommes désolés. Nous vous remboursons les frais de livraison de 24,90 EUR pour la commande.",
    ),
    (Language.SPANISH, "Lo sentimos mucho. Le reembolsamos los gastos de envío de 24,90 EUR de su pedido."),
]


@pytest.mark.parametrize(("language", "body"), PROMISES)
def test_the_shipping_of_a_late_order_may_be_promised(language: Language, body: str) -> None:
    assert problems(body, intent=Intent.REFUND, language=language) == []


@pytest.mark.parametrize(("language", "body"), PROMISES)
@pytest.mark.parametrize("order", [IN_TIME, LATE.model_copy(update={"due_on": None})])
def test_the_shipping_of_another_order_may_not_be_promised(language: Language, body: str, order: Order) -> None:
    assert problems(body, intent=Intent.REFUND, language=language, order=order) == ["refund_within_policy"]


def test_no_shipping_may_be_promised_when_the_policy_says_no() -> None:
    mean = POLICY.model_copy(update={"shipping_refunded_when_late": False})

    assert said("We will refund the shipping.", policy=mean) == ["refund_within_policy"]


@pytest.mark.parametrize(
    "sentence",
    [
        "We will refund your order.",
        "We'll fully refund the shipping.",
        "We will refund the shipping and the cots, 102.90 EUR.",
        "You will receive a refund within a week.",
        "Your refund has been approved.",
        "You will get your money back.",
        "We guarantee that it arrives on Monday.",
        "We promise delivery by Friday.",
        "WE WILL RE\u00adFUND your order.",
    ],
)
def test_a_promise_beyond_the_policy_is_named(sentence: str) -> None:
    assert {"refund_within_policy", "promises_within_policy"} & set(said(sentence))


def test_checking_a_refund_is_no_promise() -> None:
    assert said("We are checking your refund request and what our refund policy says.") == []


def test_a_tone_outside_the_policy_is_named() -> None:
    assert problems(GOOD, tone=Tone.FORMAL) == ["approved_tone"]


@pytest.mark.parametrize("sentence", ["Be patient!!", "Really?!", "PLEASE READ YOUR MAILS."])
def test_shouting_is_named(sentence: str) -> None:
    assert said(sentence) == ["approved_tone"]


def test_a_reply_in_another_language_is_named() -> None:
    german = "Guten Tag, vielen Dank für Ihre Nachricht, wir sehen nach Ihrer Bestellung und schreiben Ihnen."

    assert problems(german) == ["language_of_customer"]
    assert problems(GOOD, labelled=Language.GERMAN) == ["language_of_customer"]


@pytest.mark.parametrize(
    "sentence",
    [
        "See https://win.example/a for more.",
        "See www.haus-und-hof.example for more.",
        "See haus-und-hof.example for more.",
        "Write to help@win.example for more.",
        "Write to evil-support@haus-und-hof.example now.",
        "Write to support@haus-und-hof.example.win.test now.",
        "Call +49 30 901820 for more.",
        "Call 0049-30-9018-2099 for more.",
        "Pay to DE89 3704 0044 0532 0130 00 now.",
    ],
)
def test_a_link_an_address_or_a_number_that_is_not_the_shops_is_named(sentence: str) -> None:
    assert "no_links_or_addresses" in said(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "The tracking number is 4471012998877.",
        "It was due on 2026-11-15, that is 15.11.2026.",
        "Write to support@haus-und-hof.example.",
        "Your Haus & Hof team\nsupport@haus-und-hof.example",
        "We are open Monday to Friday, 9:00 to 17:00.",
    ],
)
def test_facts_and_the_shops_own_address_are_no_violation(sentence: str) -> None:
    assert said(sentence) == []


def test_a_link_in_the_subject_is_named() -> None:
    assert problems(GOOD, subject="Re: win at http://win.example") == ["no_links_or_addresses", "subject_kept"]


@pytest.mark.parametrize("sentence", ["<b>Hello</b>", "Tom &amp; Jerry", "[here](now)", "in\u200bvisible", "\u202egnippihs"])
def test_markup_and_invisible_characters_are_named(sentence: str) -> None:
    assert "plain_text" in said(sentence)


def test_an_ampersand_and_a_smaller_sign_are_plain_text() -> None:
    assert said("Haus & Hof, less < more, a & b; fine.") == []


@pytest.mark.parametrize("body", ["", "Hello.", " \n" * 100 + "Hello."])
def test_a_reply_that_says_nothing_is_named(body: str) -> None:
    assert problems(body) == ["length"]


def test_a_reply_that_nobody_reads_is_named() -> None:
    assert problems(f"{GOOD} " * 60) == ["length"]


@pytest.mark.parametrize("body", ["1 " * 50_000, "a." * 50_000, "refund " * 20_000, "we will " * 20_000, "1." * 50_000])
def test_a_hostile_reply_of_any_kind_gets_a_verdict(body: str) -> None:
    assert "length" in problems(body)


def test_a_check_is_computed_once_for_equal_fields() -> None:
    calls: list[Reply] = []

    def short(reply: Reply) -> Iterator[str]:
        calls.append(reply)
        yield f"it has {len(reply.body)} characters"

    check, reply = _once(short), Reply(subject="", body="Hello", language=Language.ENGLISH, tone=Tone.WARM, author="model")
    equal, other = reply.model_copy(), reply.model_copy(update={"body": "Hello!"})

    assert [check(reply=one) for one in (reply, equal, other)] == [("it has 5 characters",)] * 2 + [("it has 6 characters",)]
    assert calls == [reply, other]


def test_policies_of_one_version_with_other_terms_are_not_confused() -> None:
    assert len({POLICY, POLICY.model_copy(), POLICY.model_copy(update={"refund_days": POLICY.refund_days + 1})}) == 2
