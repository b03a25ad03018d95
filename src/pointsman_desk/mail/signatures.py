"""Recognise signatures, and whether they contain anything unusual for a signature."""

import re
from collections.abc import Sequence

from pointsman_desk.mail.headings import any_of, words_of

_DELIMITERS = {"-- ": 20, "--": 8, "\u2014": 8}  # lines below; the delimiter of RFC 3676 4.3 is trusted for more lines than other dashes
_RULER = re.compile(r"_{3,200}\s{0,8}")  # lists put a ruler above their footers, some people above their names
_RULED = 8  # lines
_LINES_MAX = 8  # a name, a firm, a street, a town, telephone numbers and a mail address
_LINE_MAX = 70  # characters of a line; a sentence is longer or has small words
_DEVICE_WORDS_MAX = 6  # "Samsung Galaxy S21 Ultra 5G"
_AROUND_WORDS_MAX = 6  # "Diese Nachricht wurde von … mit … gesendet"
_SMALL_WORDS = (
    "a al an am and at auf bei by c d da das de del della den der des di do dos du e el et for für i im in la le los of og och on "
    "und van von vom y z zu zum zur allée avenue av bd boulevard calle chemin impasse place plaza quai route rue str straße strasse via"
)
_PARTICLES = frozenset(_SMALL_WORDS.split())
# Words of sentences, not of signatures, for lines in capitals.
_SPOKEN_WORDS = (
    "i me my mine we us our you your he she it they this that is are was have has had do does did not please now never must will want need "
    "ich mich mir mein meine wir uns unser sie ihr ihre du dein es dies diese ist sind war habe hat nicht kein keine bitte jetzt nie will "
    "je moi mon mes nous notre vous votre ce cette est sont ai avez pas ne veux svp maintenant "
    "yo mis nosotros usted ustedes esto esta es son he han no quiero necesito ahora favor"
)
_SPOKEN = frozenset(_SPOKEN_WORDS.split())

_NOTICE = words_of("notice")
_NOTICE_WORDS_MIN = 6  # "This email is confidential" could be an answer; a notice is longer

_DEVICE = re.compile(
    rf"\s{{0,8}}[(<]{{0,2}}(?:{any_of('device')})([^.!?:;,<]{{0,60}}?)(?:\s?<?https?://[^\s<>]{{1,80}}>?)?"
    rf"(?:[.,]\s{{1,3}}(?:{any_of('excuses')})[^.!?:;,]{{0,40}})?[)>.!]{{0,3}}\s{{0,8}}",
    re.IGNORECASE,
)
_CLOSING = re.compile(rf"\s{{0,8}}(?:{any_of('closes')})[,.!]?\s{{0,8}}", re.IGNORECASE)
_CONTACT = re.compile(
    r"(?:(?:tel|phone|fon|fax|mobile?|mobil|handy|cell|t|m|f|e-?mail|mail|e|web|www|internet|téléphone|teléfono|telefon)\b[.: ]{0,4})?"
    r"(?:[+(]?[\d /().+-]{5,30}\d|[\w.+-]{1,64}@[\w.-]{1,255}|(?:https?://)?(?:[\w-]{1,63}\.){1,5}[a-z]{2,12}/?)",
    re.IGNORECASE,
)
_LINKED = re.compile(r"(?<!\S)[(<]?(?:https?://|www\.)\S+")
_SENTENCE = re.compile(r"[!?;€$£%]|\.\s+\S{1,40}\s\S{1,40}\s")
_WORD = re.compile(r"[^\W\d_]+")


def lines_signed(line: str) -> int:
    """Return how many lines below this one may be a signature or a footer; -1 if it is no delimiter."""
    return _RULED if _RULER.fullmatch(line) else _DELIMITERS.get(line, -1)


def is_device_line(line: str) -> bool:
    """Return whether a line is the footer of a telephone or a mail program, such as "Sent from my iPhone"."""
    found = _DEVICE.fullmatch(line)
    return (
        found is not None and len(found[0].split()) <= _DEVICE_WORDS_MAX + _AROUND_WORDS_MAX and len(found[1].split()) <= _DEVICE_WORDS_MAX
    )


def says_nothing(lines: Sequence[str]) -> bool:
    """Return whether the lines below a delimiter are only a signature.

    A signature has few, short lines: capitalised names and firms, streets with numbers, telephone numbers, addresses, a closing
    phrase. A line with a small word may be a sentence, and so may a line in an alphabet without capitals. Confidentiality and
    virus scanner notices are also harmless.
    """
    paragraphs = [piece.split("\n") for piece in re.split(r"\n\s*\n", "\n".join(lines))]
    visible = [line.strip() for piece in paragraphs if not _is_notice(" ".join(piece)) for line in piece if line.strip()]
    return len(visible) <= _LINES_MAX and all(len(line) <= _LINE_MAX and _is_signed(line) for line in visible)


def _is_notice(paragraph: str) -> bool:
    words = _WORD.findall(_LINKED.sub(" ", paragraph).lower())
    return len(words) >= _NOTICE_WORDS_MIN and _NOTICE.issuperset(words)


def _is_signed(line: str) -> bool:
    if _CONTACT.fullmatch(line) or _CLOSING.fullmatch(line) or is_device_line(line) or not _WORD.search(line):
        return True
    if _SENTENCE.search(line):
        return False
    words = [word for word in _WORD.findall(_CONTACT.sub(" ", line)) if word.lower() not in _PARTICLES]
    return all(word[0].isupper() and word.lower() not in _SPOKEN for word in words)
