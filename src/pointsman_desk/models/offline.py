"""The offline model: rules over a lexicon classify, and reviewed templates reply."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeVar

from pydantic import BaseModel

from pointsman import ModelResponse
from pointsman.models import Message, Task
from pointsman_desk.case import RISKY, Grounds, Intent, Language, Mail, Risk
from pointsman_desk.models.base import Classification
from pointsman_desk.models.lexicon import Findings, Match, lexicon
from pointsman_desk.models.prompts import ClassifyAnswer, DraftAnswer
from pointsman_desk.models.replies import write_reply
from pointsman_desk.models.spelling import corrected, undisguised
from pointsman_desk.models.words import TEXT_CHARACTERS_MAX, fold, leading, sentences, tricked

T = TypeVar("T", bound=BaseModel)

LABEL = "rule-based, no AI"
SUBJECT_CHARACTERS_MAX = 500  # a subject of five full lines
PHRASES_MAX = 8  # a person reads as many at a glance
LONG_WORDS = 250  # a page; questions to a shop are shorter, newsletters and essays rarely
WORDS_MIN = 2  # a single word may be an accident
LONG_WITH_BULK_WORDS = 120  # with the signs of a mass mailing, half a page is enough
LEAD_MIN = 2  # the weights in lexicon.toml rely on it: a side request weighs this much less
CLASSIFIED_MAX = 64  # mails; a mail is classified up to three times, close together: as a mail and as an earlier one
SELF_SHARE_MIN = 0.01  # a person says "I" or "my" more often than once in a hundred words

_RISKS = (Risk.LOW, Risk.MEDIUM, Risk.HIGH)

_SPOKEN = str.maketrans({"€": " euro ", "£": " pound ", "$": " dollar "})
_HIDDEN = ("hidden", "invisible")  # the parser's notes on invisible text

_NAMED = "order|parcel|bestellung|bestellnummer|bestellnr|bestell-nr|auftrag|auftragsnummer|commande|colis|pedido|encargo"
_NUMBERED = r"(?:number|nummer|num[eé]ro|n[uú]mero|n[uú]m|no|nr|n)"
_DASH = r"[-_\u2010-\u2014]?"  # keyboards and word processors produce all of these
_NUMBER = re.compile(
    rf"(?<![a-z0-9])(?:a{_DASH}|#\s?(?:a{_DASH})?"
    rf"|(?:{_NAMED})[ .:#°º(-]{{0,3}}(?:{_NUMBERED}[ .:#°º(-]{{1,3}})?(?:a[ -]?)?)"
    r"([0-9]{4,6})(?![0-9a-z]|[-/.,][0-9])"
)
_AMOUNT = re.compile(
    r"(?i)[€£$]\s?[0-9]|[0-9](?:\s?[€£$]|,-|\s?(?:eur|euros?|chf|usd|gbp|dollars?|d[oó]lares|pounds?|quid|franken|francs)\b)"
)


class OfflineModel:
    """A model of rules and templates. The same mail always gets the same answer, and no text leaves the machine."""

    name: str = LABEL

    async def ask(self, task: Task, messages: Sequence[Message], schema: type[T]) -> ModelResponse[T]:  # noqa: ARG002 - it ignores the prompt
        """Do the desk's `task` by its inputs: "classify" a mail, or "draft" a reply to a brief, carefully after `violations`."""
        answer: ClassifyAnswer | DraftAnswer
        if task.name == "classify":
            found = self.classify(task.inputs["mail"])
            said = found.grounds
            answer = ClassifyAnswer(
                intent=found.intent, risk=found.risk, language=said.language, order_number=said.order_number, phrases=said.phrases
            )
        else:
            careful = any(violation.check == "refund_within_policy" for violation in task.inputs["violations"])
            written = write_reply(task.inputs["brief"], author=self.name, careful=careful)
            answer = DraftAnswer(body=written.body, tone=written.tone, language=written.language)
        return ModelResponse(schema.model_validate(answer), self.name, answer.model_dump_json())

    def classify(self, mail: Mail) -> Classification:
        """Classify `mail` by its phrases: `unclear` if no rule or too many rules match."""
        return _classified(mail)


@lru_cache(maxsize=CLASSIFIED_MAX)
def _classified(mail: Mail) -> Classification:
    text, disguised = undisguised(mail.text[:TEXT_CHARACTERS_MAX])
    doubtful, masked = undisguised(mail.doubtful[:TEXT_CHARACTERS_MAX])
    subject, veiled = undisguised(mail.subject[:SUBJECT_CHARACTERS_MAX])
    numbers = _order_numbers(f"{subject}\n{text}") or _order_numbers(doubtful)
    found = _found([(fold(subject), "?" in subject)], text, numbers)
    perhaps = _found([], doubtful, numbers)  # separately, so that a short question with a signature stays short
    matches = [*found.matches(), *perhaps.matches()]
    orders = found.words("injection") + perhaps.words("injection") + _marks(f"{subject}\n{text}\n{doubtful}") + _beside(mail)
    words = fold(text[:TEXT_CHARACTERS_MAX]).split()
    language = _language(subject, words, matches)
    many = mail.automatic is not None or _bulk(found, words)
    intent, grounds = _decide(matches, spoken=language is not None, bulk=many, orders=orders)
    return Classification(
        intents=(intent,),
        risk=_risk(
            intent,
            matches,
            mail,
            odd=bool(orders)
            or len(mail.said) > TEXT_CHARACTERS_MAX
            or disguised
            or masked
            or veiled
            or tricked(f"{subject}\n{text}\n{doubtful}"),
            orders_named=len(numbers),
        ),
        grounds=Grounds(
            language=language or Language.ENGLISH,
            phrases=grounds[:PHRASES_MAX],
            order_number=numbers[0] if numbers else None,
            model=LABEL,
        ),
    )


def _order_numbers(text: str) -> tuple[str, ...]:
    plain = unicodedata.normalize("NFC", text).lower()
    return tuple(dict.fromkeys(f"A-{found.group(1)}" for found in _NUMBER.finditer(plain)))


def _found(before: list[tuple[str, bool]], text: str, numbers: tuple[str, ...]) -> Findings:
    """Find the phrases of the lexicon in `before`, which is folded, and in `text`."""
    parts = [*before, *sentences(text.translate(_SPOKEN))]
    return Findings([(corrected(words), asked) for words, asked in parts], numbered=bool(numbers), amount=_AMOUNT.search(text) is not None)


def _beside(mail: Mail) -> tuple[str, ...]:
    """Return the instructions to the machine in the sender's name and in file names."""
    names = (mail.sender_name, *(file.name for file in mail.attachments))
    return Findings([(fold(name[:SUBJECT_CHARACTERS_MAX]), False) for name in names], numbered=False).words("injection")


def _marks(text: str) -> tuple[str, ...]:
    lowered = text.lower()
    return tuple(mark.strip() for mark in lexicon().marks if mark in lowered)


def _language(subject: str, words: list[str], matches: list[Match]) -> Language | None:
    votes = Counter(match.language for match in matches)
    return leading(words, votes) or leading([*fold(subject).split(), *words], votes)


def _bulk(found: Findings, words: list[str]) -> bool:
    """Return whether a text of these words reads like a mass mailing: long, without a single person's "I"."""
    marks = len(found.words("bulk"))
    own = sum(word in lexicon().selves for word in words)
    return (
        marks >= 2 or (marks >= 1 and len(words) > LONG_WITH_BULK_WORDS) or (len(words) > LONG_WORDS and own < SELF_SHARE_MIN * len(words))
    )


def _decide(matches: list[Match], *, spoken: bool, bulk: bool, orders: tuple[str, ...]) -> tuple[Intent, tuple[str, ...]]:
    """Return the intent, and the words that support it, then those that support others, for a person."""
    everything = tuple(word for match in matches for word in match.words)
    if orders or bulk:
        return Intent.UNCLEAR, _longest((*orders, *everything))
    heaviest: dict[Intent, int] = {}
    for match in matches:
        heaviest[match.rule.intent] = max(match.rule.weight, heaviest.get(match.rule.intent, 0))
    top = max(heaviest.values(), default=0)
    leading = [intent for intent, weight in heaviest.items() if weight > top - LEAD_MIN]
    # A mail that threatens to sue and asks for a refund is a legal matter.
    risky = [intent for intent in RISKY if intent in heaviest]
    intent = risky[0] if risky else leading[0] if len(leading) == 1 and spoken else Intent.UNCLEAR
    own = tuple(word for match in matches if match.rule.intent is intent for word in match.words)
    return intent, _longest((*own, *everything))


def _longest(words: Iterable[str]) -> tuple[str, ...]:
    """Return each of `words` once, without those that another one contains."""
    once = dict.fromkeys(words)
    return tuple(word for word in once if not any(f" {word} " in f" {other} " for other in once if other != word))


def _risk(intent: Intent, matches: list[Match], mail: Mail, *, odd: bool, orders_named: int) -> Risk:
    """Return the highest risk of all circumstances: each can raise it, none can lower it."""
    table = lexicon().risk
    levels = [table[intent], *(table[match.rule.intent] for match in matches)]
    if orders_named > 1:
        levels.append(Risk.HIGH)  # a reply about one order ignores the other, or discloses another customer's
    risky = any(match.rule.intent in RISKY for match in matches)
    if mail.attachments or not WORDS_MIN <= len((mail.text or mail.doubtful or mail.subject).split()) <= LONG_WORDS:
        levels.append(Risk.MEDIUM)  # the mail may mean more than the words found
    if odd or any(sign in note for note in mail.notes for sign in _HIDDEN) or (risky and mail.attachments):
        levels.append(Risk.HIGH)
    return max(levels, key=_RISKS.index)
