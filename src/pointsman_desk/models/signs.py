"""Signs that a mail needs a person although its question is simple. They use no model and work in any language."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from pointsman_desk.case import Intent, Mail
from pointsman_desk.models.foreign import unread
from pointsman_desk.models.lexicon import Findings
from pointsman_desk.models.words import TEXT_CHARACTERS_MAX, sentences

BARE_NAME_WORDS = 2  # a first and a last name cannot contain an instruction
NAME_WORDS_MAX = 5  # "Maria del Carmen García López"; a longer one is a message
ENCODED_CHARACTERS_MIN = 24  # longer than words with capitals and figures, shorter than an encoded sentence

# Each pattern is bounded, so that the time is linear in the length of the text.
_PATTERNS = {
    "it mentions an amount of money": r"[€$£]|(?<![\w.,])[\do.,]{1,12} ?(?:eur|euros?|usd|dollars?|gbp|pounds?|chf|franken|francs?)\b"
    r"|\b(?:eur|usd|gbp|chf) ?\d",
    "it mentions a percentage": r"\d ?%|\b(?:per ?cent|prozent|pour cent|por ciento)\b",
    "it contains a link": r"://|\bwww\.|\]\(|\bmailto:",
    "it contains a bank account number": r"\b[a-z]{2}\d\d(?: ?[a-z0-9]{4}){3}",
    "it contains code or markup": r"```|<\||\|>|\{\s?\"|</?[a-z][\w-]{0,20}>|^ {0,3}##"
    r"|^([=#*_~-])\1{2,} ?\w[^\n]{0,80}\1{3}$",
}
_SIGNS = {said: re.compile(pattern, re.IGNORECASE | re.MULTILINE) for said, pattern in _PATTERNS.items()}
_ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_ORDER = re.compile(r"\bA[-\u2010-\u2014]?(\d{4,6})\b", re.IGNORECASE)
_RUN = re.compile(rf"[A-Za-z0-9+/_-]{{{ENCODED_CHARACTERS_MIN},}}=?")
_NOTES = {
    "hidden-text": "it contains hidden text",
    "smuggled-characters": "it contains hidden characters within words",
    "several-senders": "it names several senders",
    "reply-to-elsewhere": "it asks for replies to another address",
    "reply-to-list": "it asks for replies to another address",
}
_COMMON_FILES = ("image/", "text/vcard", "text/calendar", "application/pgp-signature", "application/pkcs7-signature")
_FOR_PERSONS = frozenset({Intent.LEGAL, Intent.REFUND, Intent.COMPLAINT})


def signs(mail: Mail) -> tuple[str, ...]:
    """Return the signs as text for a person; none for an ordinary mail."""
    if len(mail.said) > TEXT_CHARACTERS_MAX:
        return ("it is too long to be read completely",)
    # A harmless signature may contain a firm's links and a town's number; doubtful text counts in full.
    text = mail.said if "doubtful-lines" in mail.notes else mail.text
    return tuple(dict.fromkeys([*_of_its_form(mail), *_of_its_text(f"{mail.subject}\n{text}", mail), *_of_its_edges(mail)]))


def _of_its_form(mail: Mail) -> Iterator[str]:
    yield from (_NOTES[note] for note in mail.notes if note in _NOTES)
    if "@" in mail.sender_name or len(mail.sender_name.split()) > NAME_WORDS_MAX:
        yield "its sender's name is not a person's name"
    if any(not file.media_type.startswith(_COMMON_FILES) for file in mail.attachments):
        yield "it has an attachment that nobody has opened"


def _of_its_text(text: str, mail: Mail) -> Iterator[str]:
    plain = unicodedata.normalize("NFKC", text)
    yield from (said for said, pattern in _SIGNS.items() if pattern.search(plain))
    if "@" in plain and set(_ADDRESS.findall(plain.lower())) - {mail.sender, *mail.to}:
        yield "it contains an e-mail address that is not its sender's"
    if len({found[1] for found in _ORDER.finditer(plain)}) > 1:
        yield "it names several orders"
    if unread(plain, mail.sender_name) is not None:
        yield "it contains a sentence in a language that the desk does not read"
    if any(_encoded(run) for run in _RUN.findall(plain)):
        yield "it may contain encoded text"


def _encoded(run: str) -> bool:
    return any(letter.islower() for letter in run) and any(letter.isupper() for letter in run[1:]) and any(map(str.isdigit, run))


def _of_its_edges(mail: Mail) -> Iterator[str]:
    """Yield the signs in the text beside the customer's new text; in older mails, only instructions to a machine count."""
    older = mail.quoted[:TEXT_CHARACTERS_MAX].replace(">", " ")
    name = mail.sender_name if len(mail.sender_name.split()) > BARE_NAME_WORDS else ""
    found = _found([mail.doubtful, name, *(file.name for file in mail.attachments)])
    orders = _found([older])
    risky = [word for match in found.matches() if match.rule.intent in _FOR_PERSONS for word in match.words] if found else []
    topics = dict.fromkeys((*risky, *(word for one in (found, orders) if one for word in one.words("injection"))))
    if topics:
        yield f"text beside the customer's own has topics for a person ({', '.join(topics)})"


def _found(texts: Iterable[str]) -> Findings | None:
    """Find the lexicon's phrases in the texts (slow); None if there is no text."""
    parts = [part for text in texts for part in sentences(text)]
    return Findings(parts, numbered=False) if parts else None
