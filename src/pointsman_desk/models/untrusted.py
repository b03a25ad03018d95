"""Prepare a stranger's text for a language model: clean it, cut it, and put it between marks that the stranger cannot know."""

import re
from collections.abc import Sequence
from random import Random

BOUNDARY_BITS = 96  # too many to guess

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# Controls, surrogates, and what Unicode 15 calls default-ignorable: fillers, joiners, bidi controls, selectors, tags. Each can
# carry text to a model that no person sees. A joiner and an emoji selector stay where they combine two emoji into one.
_PICTURES = "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200c\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    f"\U000e0000-\U000e0fff]|(?<![{_PICTURES}\ufe0f])\u200d|\u200d(?![{_PICTURES}])|(?<![0-9#*{_PICTURES}])\ufe0f"
)


def clean(text: str) -> str:
    r"""Return `text` with `\n` as its only line end and without invisible characters."""
    return _UNSEEN.sub("", _LINE_ENDS.sub("\n", text))


def cut(text: str, characters_max: int) -> str:
    """Return the beginning of `text`, with a line that says how much was left out."""
    left = len(text) - characters_max
    return text if left <= 0 else f"{text[:characters_max]}\n[{left} more characters were left out]"


def new_boundary(random: Random, texts: Sequence[str] = ()) -> str:
    """Return a random word that is in none of `texts`."""
    while True:
        word = f"{random.getrandbits(BOUNDARY_BITS):0{BOUNDARY_BITS // 4}x}"
        if not any(word in text for text in texts):
            return word


def delimited(text: str, boundary: str, label: str) -> str:
    """Return `text` between two lines that contain `boundary`, with `| ` before each of its lines.

    No line of the text can imitate the two, even if the boundary is known; in the text, the boundary is replaced by a star. `label`
    says what the text is.
    """
    lines = clean(text).replace(boundary, "*").split("\n")
    return "\n".join([f"[{label} {boundary}]", *(f"| {line}" for line in lines), f"[end of {label} {boundary}]"])
