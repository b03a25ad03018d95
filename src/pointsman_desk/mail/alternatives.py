"""Compare the plain text and the HTML of a mail, which should say the same (RFC 2046 5.1.4)."""

import re
import unicodedata

COMPARED_MAX = 256 * 1024  # characters of each form; longer texts are cut, and get a note, elsewhere

_JOINED_MIN = 4  # words; spaces may be lost between them, as at the end of a cell; that many match no other sentence by accident
# What mail programs write into one form only: addresses of links and pictures, mail addresses, names of pictures.
_FORM_ONLY = re.compile(
    r"<?\b(?:https?://|www\.|mailto:|tel:|cid:)[^\s<>\[\]]{1,2000}>?|\[(?:\w{1,20}:)?[^\s\[\]]{0,200}(?:\s[^\s\[\]]{1,60})?\]|\[\w{1,20}:\s|[<(]?[\w.+-]{1,64}@[\w.-]{1,255}[>)]?"
    r"|\b[\w-]{1,60}\.(?:png|jpe?g|gif|svg|webp)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+")


def lines_only_in(form: str, other: str) -> list[str]:
    """Return the lines of `form` whose words are not in `other` in the same order.

    Line breaks, punctuation, quotation and list markers, case and link addresses do not count.
    """
    words = _words(other)
    spaced, joined = f" {' '.join(words)} ", "".join(words)
    return [line for line in form[:COMPARED_MAX].split("\n") if not _stands(_words(line), spaced, joined)]


def _stands(words: list[str], spaced: str, joined: str) -> bool:
    return f" {' '.join(words)} " in spaced or not words or (len(words) >= _JOINED_MIN and "".join(words) in joined)


def _words(text: str) -> list[str]:
    return _WORD.findall(_FORM_ONLY.sub(" ", unicodedata.normalize("NFKC", text[:COMPARED_MAX])).casefold())
