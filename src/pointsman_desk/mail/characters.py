"""Clean text, so that it is safe to show, store and compare."""

import re

_SURROGATE = "\ud800-\udfff"
_END = "\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029"  # str.splitlines() splits at each of these; after `clean`, "\n" is the only one
_CONTROL = "\x00-\x08\x0e-\x1f\x7f-\x9f"
# Bidi controls, zero-width characters, soft hyphens, and tags and variation selectors, which can carry invisible text.
_UNSEEN = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e01ef"

_UNCLEAN = re.compile(f"[{_SURROGATE}{_END}{_CONTROL}{_UNSEEN}]")
_SURROGATES = re.compile(f"[{_SURROGATE}]")
_LINE_ENDS = re.compile(f"\r\n|[{_END}]")
_CONTROLS = re.compile(f"[{_CONTROL}]")
_INVISIBLE = re.compile(f"[{_UNSEEN}]")
# Of those, the ones that only deceive: tags except the three flags, a reversed line, zero-width gaps in a Latin word.
_SMUGGLED = re.compile(
    "(?<![\U0001f3f4\U000e0020-\U000e007e])[\U000e0020-\U000e007e]|[\U000e0020-\U000e007e]{7}|\u202e|[A-Za-z][\u034f\u180e\u200b\u2060\ufeff]+[A-Za-z]"
)


def clean(text: str, notes: set[str]) -> str:
    r"""Make every line end a `\n` and remove invisible characters.

    Removes all C0 and C1 controls except `\n` and `\t`, lone surrogates, bidi controls, zero-width characters and tag
    characters (Unicode 15, categories Cc, Cf and Cs). Adds `control-characters`, `invisible-characters` and, for characters
    that can only deceive, `smuggled-characters` to `notes`.
    """
    if (text.isascii() and text.isprintable()) or _UNCLEAN.search(text) is None:
        return text
    text = _LINE_ENDS.sub("\n", text)
    if _UNCLEAN.search(text) is None:
        return text
    if _SMUGGLED.search(text):
        notes.add("smuggled-characters")
    text, controls = _CONTROLS.subn("", _SURROGATES.sub("", text))
    text, invisible = _INVISIBLE.subn("", text)
    if controls:
        notes.add("control-characters")
    if invisible:
        notes.add("invisible-characters")
    return text
