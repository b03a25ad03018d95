"""Whatever stands around a mail, a risky sentence outside of proved history keeps its reply from leaving without a person.

The parser, the rule-based model and the rules of the process are asked, and no engine: what the engine adds to them is no rule.
The figure of the tier is the number of mails; `make soak` tries every one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from random import Random

from wrappers import WRAPPERS, Place, Wrapper, both, places, raw

import tiers
from pointsman_desk.case import Addressing, Case, Incoming, Mail, Policy, Reply, Tone, Trust, Verdict
from pointsman_desk.config import SAMPLE
from pointsman_desk.evaluation.labelled import Labelled, own_set
from pointsman_desk.mail.message import read_mail
from pointsman_desk.models.caution import cautious
from pointsman_desk.models.offline import OfflineModel
from pointsman_desk.process import support
from pointsman_desk.shop.policy import PolicyFile

SENTENCES = [
    "I want my money back.",
    "If it is not here tomorrow I want a refund.",
    "Otherwise my lawyer will write to you.",
    "This is unacceptable, I want to make a complaint.",
    "Ich will mein Geld zurück.",
    "Sonst gehe ich zum Anwalt.",
    "Je veux être remboursé.",
    "Je vais porter plainte.",
    "Quiero que me devuelvan el dinero.",
    "Voy a denunciarles.",
]
MAILS = tiers.figure("WRAPPED_MAILS", 1)  # of each wrapper and each place that is tried
WRAPPERS_MIN = 30
QUESTIONS_MIN = 45  # 51 of 300 did before lines could be doubtful


@cache
def policy() -> Policy:
    return PolicyFile(SAMPLE / "policy.toml").current()


@cache
def gold() -> list[Labelled]:
    return [one for one in own_set() if one.attack is None]


def leaves(mail: Mail) -> bool:
    """Whether the rules let the reply leave without a person: all else that they ask for is given, and the reply is a template."""
    found = cautious(OfflineModel().classify(mail), mail)
    reply = Reply(subject="", body="", language=found.grounds.language, tone=Tone.WARM, author="a model", template="a reviewed one")
    state = Case.model_construct(
        email_id="", customer_id=mail.sender, mails=[Incoming.model_construct(at=0.0, sender=mail.sender)], reports=[], mail=mail, earlier=(), answered=(), intents=found.intents, risk=found.risk,
        grounds=found.grounds, order="an order", policy=policy(), trust=Trust.BOUND, addressing=Addressing(to=mail.sender), reply=reply, verdict=Verdict(), outgoing="composed",
    )  # fmt: skip
    for rule in support.ordered_rules:
        if rule.condition is None or rule.condition(state):
            assert rule.step.name in {"approve", "finish", "allow"}, f"the state lacks what {rule.name!r} looks at"
            return rule.step.name == "allow"
    raise AssertionError("one rule always holds")


def read(wrapper: Wrapper, mail: Labelled, sentence: str = "", place: Place | None = None) -> Mail:
    text = mail.mail.text if not wrapper.flowed else "\n".join(line.rstrip() for line in mail.mail.text.split("\n"))
    return read_mail(raw(wrapper, text, mail.mail.subject, sentence, place), "mx.haus-und-hof.example", known=wrapper.known)


@cache
def plain_questions() -> list[Labelled]:
    """The mails of the gold set that are answered without a person when nothing stands around them."""
    return [one for one in gold() if leaves(read(WRAPPERS[0], one))]


@dataclass
class Tally:
    """How much was tried, and what would leave without a person."""

    tried: int = 0
    mails: set[str] = field(default_factory=set)
    unattended: list[tuple[str, Place, str, str]] = field(default_factory=list)


def tally(wrappers: list[Wrapper], count: int, heard: Callable[[Mail], Mail]) -> Tally:
    """Put a risky sentence into the places around so many mails by chance, three of four of them plain questions."""
    chance, found = Random(tiers.seed()), Tally()
    questions, all_of_them = plain_questions(), gold()
    for wrapper in wrappers:
        for place in (place for number, place in enumerate(places(wrapper)) if tiers.tried(number, wrapper.name)):
            some = all_of_them
            if count < len(all_of_them):
                asking = min(len(questions), count - count // 4)
                some = [*chance.sample(questions, asking), *chance.sample(all_of_them, count - asking)]
            for mail in some:
                sentence = chance.choice(SENTENCES)
                found.tried += 1
                found.mails.add(mail.id)
                if leaves(heard(read(wrapper, mail, sentence, place))):
                    found.unattended.append((wrapper.name, place, mail.id, sentence))
    return found


def test_a_risky_sentence_is_never_followed_by_a_reply_without_a_person() -> None:
    found = tally(WRAPPERS, MAILS, lambda mail: mail)

    all_places = sum(len(places(wrapper)) for wrapper in WRAPPERS)
    print(
        f"\n{len(found.mails)} mails x {len(WRAPPERS)} wrappers x {all_places} places: {len(found.unattended)} unattended"
        f" ({found.tried} tried, seed {tiers.seed()})"
    )
    assert len({wrapper.name for wrapper in WRAPPERS}) >= WRAPPERS_MIN
    assert found.unattended == []


def test_the_tally_would_notice_that_doubtful_lines_do_not_count() -> None:
    found = tally(WRAPPERS[::5], 1, lambda mail: mail.model_copy(update={"doubtful": "", "notes": ()}))

    assert len(found.unattended) > 5


USUAL = [
    wrapper
    for wrapper in WRAPPERS
    if wrapper.name.startswith(("signature: ", "answer: ", "known"))
    or wrapper.name
    in {
        "base64",
        "quoted-printable",
        "flowed",
        "html",
        "html, division",
        "html, table",
        "html, answer in Gmail",
        "html, Thunderbird",
        "html, Apple",
    }
]


def test_a_plain_question_is_still_answered_without_a_person_whatever_is_usual_around_it() -> None:
    questions = plain_questions()
    left = {wrapper.name: sum(leaves(read(wrapper, mail)) for mail in questions[:: max(1, 20 // MAILS)]) for wrapper in USUAL}
    of = len(questions[:: max(1, 20 // MAILS)])

    print(
        f"\n{len(questions)} of {len(gold())} mails leave by themselves; of {of} of them within {len(USUAL)} usual wrappers {sum(left.values())} of {of * len(USUAL)}"
    )
    assert len(questions) >= QUESTIONS_MIN
    assert {name: count for name, count in left.items() if count < of} == {}


IN_PLAIN_TEXT = [wrapper for wrapper in WRAPPERS if not wrapper.markup and not wrapper.flowed]


def test_a_risky_sentence_in_the_html_alone_is_never_followed_by_a_reply_without_a_person() -> None:
    chance = Random(tiers.seed())
    unattended = []
    for wrapper in IN_PLAIN_TEXT:
        for chunk in {0, chance.randrange(len(wrapper.chunks)), len(wrapper.chunks)}:
            one, sentence = chance.choice(plain_questions()).mail, chance.choice(SENTENCES)
            raw_mail = both(wrapper, one.text, one.subject, sentence, chunk)
            if leaves(read_mail(raw_mail, "mx.haus-und-hof.example", known=wrapper.known)):
                unattended.append((wrapper.name, chunk, sentence))

    assert unattended == []


def test_a_plain_question_in_plain_text_and_html_is_still_answered_without_a_person() -> None:
    questions = plain_questions()[:: max(1, 20 // MAILS)]
    waiting = [
        (wrapper.name, one.id)
        for wrapper in USUAL
        if not wrapper.markup and not wrapper.flowed
        for one in questions
        if not leaves(read_mail(both(wrapper, one.mail.text, one.mail.subject), "mx.haus-und-hof.example", known=wrapper.known))
    ]

    assert waiting == []
