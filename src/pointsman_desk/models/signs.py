"""What about a mail calls for a person although its words ask a simple question. No model is asked, and no language matters."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from pointsman_desk.case import Intent, Mail
from pointsman_desk.models.foreign import unread
from pointsman_desk.models.lexicon import Findings
from pointsman_desk.models.words import TEXT_CHARACTERS_MAX, sentences

BARE_NAME_WORDS = 2  # a first name and a last one give no orders
NAME_WORDS_MAX = 5  # "Maria del Carmen García López"; what is longer is a message
ENCODED_CHARACTERS_MIN = 24  # longer than words with capitals and figures in them, shorter than a coded sentence

# Each pattern is bounded, so that no text takes longer than its length.
_PATTERNS = {
    "it speaks of an amount of money": r"[€$£]|(?<![\w.,])[\do.,]{1,12} ?(?:eur|euros?|usd|dollars?|gbp|pounds?|chf|franken|francs?)\b"
    r"|\b(?:eur|usd|gbp|chf) ?\d",
    "it speaks of a share": r"\d ?%|\b(?:per ?cent|prozent|pour cent|por ciento)\b",
    "it holds a link": r"://|\bwww\.|\]\(|\bmailto:",
    "it names a bank account": r"\b[a-z]{2}\d\d(?: ?[a-z0-9]{4}){3}",
    "it holds the marks of a program, not of a letter": r"```|<\||\|>|\{\s?\"|</?[a-z][\w-]{0,20}>|^ {0,3}##"
    r"|^([=#*_~-])\1{2,} ?\w[^\n]{0,80}\1{3}$",
}
_SIGNS = {said: re.compile(pattern, re.IGNORECASE | re.MULTILINE) for said, pattern in _PATTERNS.items()}
_ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_ORDER = re.compile(r"\bA[-\u2010-\u2014]?(\d{4,6})\b", re.IGNORECASE)
_RUN = re.compile(rf"[A-Za-z0-9+/_-]{{{ENCODED_CHARACTERS_MIN},}}=?")
_NOTES = {
    "hidden-text": "it hides text",
    "smuggled-characters": "it hides characters within words",
    "several-senders": "it names several senders",
    "reply-to-elsewhere": "it wants its answer elsewhere",
    "reply-to-list": "it wants its answer elsewhere",
}
_COMMON_FILES = ("image/", "text/vcard", "text/calendar", "application/pgp-signature", "application/pkcs7-signature")
_FOR_PERSONS = frozenset({Intent.LEGAL, Intent.REFUND, Intent.COMPLAINT})


def signs(mail: Mail) -> tuple[str, ...]:
    """Say what calls for a person, in words for that person; nothing for a mail that may be what it seems."""
    if len(mail.said) > TEXT_CHARACTERS_MAX:
        return ("it is too long to be read to its end",)
    # A signature that says nothing may name a firm's pages and a town's number; what is doubtful counts in full.
    text = mail.said if "doubtful-lines" in mail.notes else mail.text
    return tuple(dict.fromkeys([*_of_its_form(mail), *_of_its_text(f"{mail.subject}\n{text}", mail), *_of_its_edges(mail)]))


def _of_its_form(mail: Mail) -> Iterator[str]:
    yield from (_NOTES[note] for note in mail.notes if note in _NOTES)
    if "@" in mail.sender_name or len(mail.sender_name.split()) > NAME_WORDS_MAX:
        yield "its sender's name is no name"
    if any(not file.media_type.startswith(_COMMON_FILES) for file in mail.attachments):
        yield "it brings a file that nobody has opened"


def _of_its_text(text: str, mail: Mail) -> Iterator[str]:
    plain = unicodedata.normalize("NFKC", text)
    yield from (said for said, pattern in _SIGNS.items() if pattern.search(plain))
    if set(_ADDRESS.findall(plain.lower())) - {mail.sender, *mail.to}:
        yield "it names an e-mail address that is not its sender's"
    if len({found[1] for found in _ORDER.finditer(plain)}) > 1:
        yield "it names several orders"
    if unread(plain, mail.sender_name) is not None:
        yield "it says something in a language that the desk does not read"
    if any(_encoded(run) for run in _RUN.findall(plain)):
        yield "it holds what may be encoded text"


def _encoded(run: str) -> bool:
    return any(letter.islower() for letter in run) and any(letter.isupper() for letter in run[1:]) and any(map(str.isdigit, run))


def _of_its_edges(mail: Mail) -> Iterator[str]:
    """What stands beside the customer's new text and speaks all the same; of older mails, only orders to a machine do."""
    older = mail.quoted[:TEXT_CHARACTERS_MAX].replace(">", " ")
    name = mail.sender_name if len(mail.sender_name.split()) > BARE_NAME_WORDS else ""
    found = _found([mail.doubtful, name, *(file.name for file in mail.attachments)])
    orders = _found([older])
    risky = [word for match in found.matches() if match.rule.intent in _FOR_PERSONS for word in match.words] if found else []
    told = dict.fromkeys((*risky, *(word for one in (found, orders) if one for word in one.words("injection"))))
    if told:
        yield f"beside its text it speaks of what is for a person ({', '.join(told)})"


def _found(texts: Iterable[str]) -> Findings | None:
    """Look for the lexicon's phrases, which takes a while; None where there is nothing to look at."""
    parts = [part for text in texts for part in sentences(text)]
    return Findings(parts, numbered=False) if parts else None
