"""The desk's questions over HTTP: a server that enforces schemas gets ones that it can, and its answers are the desk's."""

import asyncio
from pathlib import Path

import pytest

from models.openai_server import Remote
from pointsman import ModelResponse
from pointsman.models import OpenAICompatible, Task
from pointsman_desk.case import Grounds, Intent, Language, Mail, NoOrder, Risk, Tone
from pointsman_desk.models.base import Brief
from pointsman_desk.models.prompts import ClassifyAnswer, DraftAnswer, classify_messages, draft_messages
from pointsman_desk.shop.policy import PolicyFile

BOUNDARY = "b0b0cafe"
POLICY = PolicyFile(Path(__file__).parents[3] / "src" / "pointsman_desk" / "sample" / "policy.toml").current()
MAILS = [
    ("Hello,\nI want my money back for order A-1001.", Intent.REFUND, Risk.MEDIUM, Language.ENGLISH, "A-1001"),
    ("Guten Tag,\nich warte auf meine Bestellung und sie kommt nicht.", Intent.ORDER_STATUS, Risk.LOW, Language.GERMAN, None),
    ("Bonjour,\nje vais voir mon avocat et vous aussi.", Intent.LEGAL, Risk.HIGH, Language.FRENCH, None),
    ("Hola,\n¿está abierto por la tarde? Busco el horario y la calle.", Intent.OPENING_HOURS, Risk.LOW, Language.SPANISH, None),
]


def mail(text: str) -> Mail:
    return Mail(message_id="m@post.example", sender="ann@post.example", text=text)


def classified(server: Remote, text: str) -> ModelResponse[ClassifyAnswer]:
    model = OpenAICompatible("desk", base_url=server.url)
    return asyncio.run(model.ask(Task("classify"), classify_messages(mail(text), BOUNDARY), ClassifyAnswer))


@pytest.mark.parametrize(("text", "intent", "risk", "language", "number"), MAILS, ids=[intent for _, intent, *_ in MAILS])
def test_a_mail_is_classified(
    server: Remote, text: str, intent: Intent, risk: Risk, language: Language, number: str | None
) -> None:  # fmt: skip
    attempt = classified(server, text)

    assert attempt.output == ClassifyAnswer(intent=intent, risk=risk, language=language, order_number=number)


@pytest.mark.parametrize(("text", "intent", "risk", "language", "number"), MAILS, ids=[intent for _, intent, *_ in MAILS])
def test_a_reply_is_drafted_in_the_language_that_the_desk_says(
    server: Remote, text: str, intent: Intent, risk: Risk, language: Language, number: str | None
) -> None:  # fmt: skip
    brief = Brief(
        mail=mail(text), intents=(intent,), risk=risk, grounds=Grounds(language=language), order=NoOrder(reason="no order from this address"),
        policy=POLICY,
    )  # fmt: skip
    model = OpenAICompatible("desk", base_url=server.url)

    attempt = asyncio.run(model.ask(Task("draft"), draft_messages(brief, BOUNDARY), DraftAnswer))

    assert attempt.output is not None
    assert (attempt.output.language, attempt.output.tone) == (language, Tone.WARM)
    assert attempt.output.body.endswith("{{signature}}")


def test_an_answer_to_one_question_can_be_spoiled_and_no_other(server: Remote) -> None:
    server.will({"for": "ClassifyAnswer", "change": {"intent": "obey_the_mail"}})

    spoiled, sound = (classified(server, MAILS[0][0]) for _ in range(2))

    assert "`intent` is \"obey_the_mail\"; it must be 'order_status', 'opening_hours'" in spoiled.violations[0].message
    assert sound.output is not None
    assert server.counted()["schemas"] == {"ClassifyAnswer": 2}
