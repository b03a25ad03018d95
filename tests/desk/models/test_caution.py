"""A model may raise what the rules say of a mail, and lower nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman_desk.case import BY_HAND, Attachment, Grounds, Intent, Language, Mail, Risk
from pointsman_desk.models.base import Classification
from pointsman_desk.models.caution import cautious, circumstances, combined, continued

MAIL = Mail(
    message_id="m@post.example",
    sender="john.smith@post.example",
    subject="Order A-1002",
    text="Hello, where is my parcel, and when does it come? It is the order 1002 or B_77.",
)
ORDERED = list(Risk)

found = st.builds(
    Classification,
    intents=st.tuples(st.sampled_from(Intent)),
    risk=st.sampled_from(Risk),
    grounds=st.builds(
        Grounds, language=st.sampled_from(Language), phrases=st.lists(st.sampled_from(["parcel", "refund me", ""])).map(tuple)
    ),
)
notes = st.lists(st.sampled_from(["hidden-text", "several-senders", "reply-to-elsewhere", "html-only"]), unique=True).map(tuple)


def said(intent: Intent = Intent.ORDER_STATUS, risk: Risk = Risk.LOW, model: str = "m", **grounds: object) -> Classification:
    return Classification(intents=(intent,), risk=risk, grounds=Grounds(**{"language": Language.ENGLISH, "model": model, **grounds}))  # type: ignore[arg-type]


@given(found, found, notes)
def test_no_pair_has_less_risk_than_either_and_what_is_for_a_person_stays_so(
    rules: Classification, model: Classification, odd: tuple[str, ...]
) -> None:
    mail = MAIL.model_copy(update={"notes": odd})

    both = combined(rules, model, mail)

    least = max(rules.risk, model.risk, *circumstances(mail), key=ORDERED.index)
    assert ORDERED.index(both.risk) >= ORDERED.index(least)
    assert both.intent in BY_HAND or {rules.intent, model.intent} == {both.intent}
    assert {rules.intent, model.intent} <= set(both.intents)
    assert set(rules.grounds.phrases) <= set(both.grounds.phrases)


@given(found, found)
def test_of_two_opinions_it_does_not_matter_who_says_which(rules: Classification, model: Classification) -> None:
    one, other = combined(rules, model, MAIL), combined(model, rules, MAIL)

    assert (one.intent, one.risk) == (other.intent, other.risk)


@pytest.mark.parametrize(
    ("rules", "model", "both"),
    [
        (Intent.REFUND, Intent.ORDER_STATUS, Intent.REFUND),
        (Intent.ORDER_STATUS, Intent.REFUND, Intent.REFUND),
        (Intent.REFUND, Intent.LEGAL, Intent.LEGAL),
        (Intent.UNCLEAR, Intent.ORDER_STATUS, Intent.UNCLEAR),
        (Intent.UNCLEAR, Intent.COMPLAINT, Intent.COMPLAINT),
        (Intent.ORDER_STATUS, Intent.OPENING_HOURS, Intent.UNCLEAR),
        (Intent.ORDER_STATUS, Intent.ORDER_STATUS, Intent.ORDER_STATUS),
    ],
)
def test_the_intent_that_a_person_must_see_first_is_kept(rules: Intent, model: Intent, both: Intent) -> None:
    assert combined(said(rules), said(model), MAIL).intent is both


@pytest.mark.parametrize(
    ("change", "risk"),
    [
        ({}, Risk.LOW),
        ({"notes": ("html-only",)}, Risk.LOW),
        ({"notes": ("hidden-text",)}, Risk.HIGH),
        ({"notes": ("several-senders",)}, Risk.HIGH),
        ({"notes": ("reply-to-elsewhere",)}, Risk.HIGH),
        ({"notes": ("invisible-characters",)}, Risk.MEDIUM),
        ({"attachments": (Attachment(name="a.pdf", media_type="application/pdf", size=1, sha256="0"),)}, Risk.HIGH),
        ({"attachments": (Attachment(name="a.png", media_type="image/png", size=1, sha256="0"),)}, Risk.MEDIUM),
        ({"text": "where is my p\u0430rcel"}, Risk.HIGH),
        ({"subject": "ref\u200bund"}, Risk.HIGH),
    ],
)
def test_what_is_odd_about_a_mail_raises_the_risk_whatever_anybody_says(change: dict[str, object], risk: Risk) -> None:
    mail = MAIL.model_copy(update=change)

    assert combined(said(), said(), mail).risk is risk
    assert cautious(said(), mail).risk is risk


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        ("A-1002", "A-1002"),
        ("A1002", "A1002"),
        ("1002", "1002"),
        ("b-77", "b-77"),
        ("A-1003", None),
        ("002", None),
        ("order", None),
        ("-", None),
        (None, None),
    ],
)
def test_an_order_number_of_the_model_counts_only_where_it_stands_in_the_mail(number: str | None, kept: str | None) -> None:
    assert combined(said(), said(order_number=number), MAIL).grounds.order_number == kept


def test_the_order_number_that_the_rules_found_is_kept() -> None:
    assert combined(said(order_number="A-1002"), said(order_number="B_77"), MAIL).grounds.order_number == "A-1002"


def test_the_language_is_what_the_mail_reads_as_and_only_in_doubt_the_models() -> None:
    german = said(language=Language.GERMAN)

    assert combined(said(), german, MAIL).grounds.language is Language.ENGLISH
    assert combined(said(), german, MAIL.model_copy(update={"subject": "A-1002", "text": "?"})).grounds.language is Language.GERMAN


def test_reasons_of_both_are_kept_but_no_words_that_a_model_made_up() -> None:
    rules, model = (
        said(model="rules", phrases=("where is my",)),
        said(Intent.LEGAL, Risk.HIGH, phrases=("Parcel", "approve this now", "where is my")),
    )

    grounds = combined(rules, model, MAIL).grounds

    assert grounds.phrases == ("where is my", "Parcel")
    assert grounds.opinions == ("rules: order_status, risk low", "m: legal, risk high")
    assert grounds.model == "m"


def test_a_sign_makes_high_what_would_go_out_by_itself_and_leaves_what_is_for_a_person_as_it_is() -> None:
    mail = MAIL.model_copy(update={"text": "Where is it? It cost 20 EUR."})

    simple, refund = cautious(said(), mail), cautious(said(Intent.REFUND, Risk.MEDIUM), mail)

    assert (simple.risk, refund.risk) == (Risk.HIGH, Risk.MEDIUM)
    assert simple.grounds.signs == refund.grounds.signs == ("it mentions an amount of money",)


def test_what_several_mails_ask_is_all_kept_with_the_highest_risk() -> None:
    refund, status = said(Intent.REFUND, Risk.MEDIUM, signs=("odd",), order_number="A-1002"), said(order_number="A-1002")

    found = continued(said(Intent.CHANGE_ADDRESS), [refund, status], Risk.LOW)

    assert (found.intents, found.risk) == ((Intent.REFUND, Intent.CHANGE_ADDRESS, Intent.ORDER_STATUS), Risk.MEDIUM)
    assert (found.grounds.signs, found.grounds.order_number) == (("odd",), "A-1002")
    assert continued(said(), [], Risk.HIGH).risk is Risk.HIGH, "the risk of a conversation never falls"


def test_of_mails_that_were_answered_only_the_order_counts() -> None:
    found = continued(said(), [], Risk.LOW, [said(Intent.LEGAL, Risk.HIGH, signs=("odd",), order_number="A-1002")])

    assert (found.intents, found.risk, found.grounds.signs) == ((Intent.ORDER_STATUS,), Risk.LOW, ())
    assert found.grounds.order_number == "A-1002"


def test_mails_that_name_several_orders_are_for_a_person() -> None:
    found = continued(said(order_number="A-1003"), [said(order_number="A-1002")], Risk.LOW)

    assert (found.intents, found.risk) == ((Intent.ORDER_STATUS,), Risk.HIGH)
    assert (found.grounds.signs, found.grounds.order_number) == (("its mails name several orders",), "A-1003")
