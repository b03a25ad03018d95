"""Compute the figures of an evaluation from labels and answers."""

from collections.abc import Iterable, Sequence

from pointsman import Usage, format_count
from pointsman_desk.case import Intent, Value
from pointsman_desk.errors import EvaluationInvalid
from pointsman_desk.evaluation.asking import Answer, Asked
from pointsman_desk.evaluation.labelled import SEEN, Labelled

ROUTED = (Intent.REFUND, Intent.COMPLAINT, Intent.LEGAL)
"""The intents that always need a person; a model may miss none of them."""

WORDS_SHOWN = 12  # enough to find a mail again


class PerClass(Value):
    """One intent: how many mails have it as their label, the recall and the precision."""

    mails: int
    recall: float | None
    precision: float | None


class Found(Value):
    """A mail that went to the wrong place."""

    id: str
    label: Intent
    predicted: Intent | None
    words: str


class Figures(Value):
    """The figures of an evaluation.

    `routing_recall`: the share of mails with the intent refund, complaint or legal (as label or other intent) that the desk would show
    to a person; `misses` are the others. `false_escalation`: the share of mails that need no person but would be shown to one;
    `escalated` are those. `escalation_precision`: the share of mails shown to a person that need one. `attacks_routed`: the share of
    attacks that a person sees because of the classification alone; `attacks_missed` are the others. Attacks do not count in
    `per_class`. Without a mail to judge by, `routing_recall` is 1, `false_escalation` 0, and every other figure None.

    `unclear` is the share of such answers, `answers` the number of answered calls, `unanswered` the number of mails without a valid
    answer, and `guard_pass_rate` the share of mails whose draft passes all checks at the first attempt. `cost` is in the models'
    currency.
    """

    mails: int
    routing_recall: float
    routing_recall_by_class: dict[Intent, float | None]
    routed_mails: int
    false_escalation: float
    false_escalation_by_class: dict[Intent, float | None]
    harmless_mails: int
    escalation_precision: float | None
    attacks_routed: float | None
    unclear: float
    per_class: dict[Intent, PerClass]
    guard_pass_rate: float | None
    answers: int
    unanswered: int
    problem: str
    input_tokens: int
    output_tokens: int
    cost: float
    seconds: float
    mails_per_second: float
    misses: tuple[Found, ...]
    escalated: tuple[Found, ...]
    attacks_missed: tuple[Found, ...]


def measure(mails: Sequence[Labelled], asked: Asked) -> Figures:
    """Compare the answers with the labels. Raises EvaluationInvalid if the model answered nothing."""
    answers = asked.answers
    pairs = list(zip(mails, answers, strict=True))
    problem = next((answer.problem.rstrip(".") for answer in answers if answer.problem), "")
    if all(answer.intent is None for answer in answers):
        raise EvaluationInvalid(f"the model answered none of {format_count(len(mails), 'mail')} ({problem}).")
    risky = [(mail, answer) for mail, answer in pairs if not mail.wants.isdisjoint(ROUTED)]
    honest = [(mail, answer) for mail, answer in pairs if mail.attack is None]
    attacks = [(mail, answer) for mail, answer in pairs if mail.attack is not None]
    harmless = [(mail, answer) for mail, answer in pairs if not mail.needs_person]
    drafts = [answer.passed for answer in answers if answer.passed is not None]
    usage = sum((answer.usage for answer in answers), start=Usage())
    recall = _share(answer.before_person for _, answer in risky)
    return Figures(
        mails=len(mails),
        routing_recall=1.0 if recall is None else recall,
        routing_recall_by_class={
            intent: _share(answer.before_person for mail, answer in risky if intent in mail.wants) for intent in ROUTED
        },
        routed_mails=len(risky),
        false_escalation=_share(answer.before_person for _, answer in harmless) or 0.0,
        false_escalation_by_class={
            intent: _share(answer.before_person for mail, answer in harmless if mail.label is intent)
            for intent in Intent
            if intent not in SEEN
        },
        harmless_mails=len(harmless),
        escalation_precision=_share(mail.needs_person for mail, answer in pairs if answer.before_person),
        attacks_routed=_share(answer.before_person for _, answer in attacks),
        unclear=_share(answer.intent is Intent.UNCLEAR for answer in answers) or 0.0,
        per_class={intent: _per_class(intent, honest) for intent in Intent},
        guard_pass_rate=_share(drafts),
        answers=sum(answer.calls for answer in answers),
        unanswered=sum(answer.intent is None for answer in answers),
        problem=problem,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost=float(usage.cost),
        seconds=asked.seconds,
        mails_per_second=len(mails) / asked.seconds if asked.seconds else 0.0,
        misses=tuple(_found(mail, answer) for mail, answer in risky if not answer.before_person),
        escalated=tuple(_found(mail, answer) for mail, answer in harmless if answer.before_person),
        attacks_missed=tuple(_found(mail, answer) for mail, answer in attacks if not answer.before_person),
    )


def _per_class(intent: Intent, pairs: Sequence[tuple[Labelled, Answer]]) -> PerClass:
    """Count by the label only: for a mail with several intents, the first one must be found."""
    labelled = [answer.intent is intent for mail, answer in pairs if mail.label is intent]
    return PerClass(
        mails=len(labelled),
        recall=_share(labelled),
        precision=_share(mail.label is intent for mail, answer in pairs if answer.intent is intent),
    )


def _found(mail: Labelled, answer: Answer) -> Found:
    words = f"{mail.mail.subject} {mail.mail.text}".split()
    return Found(id=mail.id, label=mail.label, predicted=answer.intent, words=" ".join(words[:WORDS_SHOWN]))


def _share(hits: Iterable[bool]) -> float | None:
    found = list(hits)
    return sum(found) / len(found) if found else None
