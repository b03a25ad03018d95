"""Show addresses whose domain looks like another one."""

import unicodedata

import idna

# Scripts that one language mixes, also with Latin (Unicode UTS 39, "highly restrictive").
_TOGETHER = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)
_LETTERS = frozenset({"Lu", "Ll", "Lt", "Lo"})  # a modifier (Lm) belongs to several scripts


def both_forms(address: str) -> str:
    """Return an address to show, with its domain as it is sent and, if this differs, as it looks.

    The text names the alphabet of a domain in another alphabet, and warns of a part that mixes alphabets, which mostly imitates another
    one. A plain ASCII address is returned unchanged.
    """
    local, at, domain = address.rpartition("@")
    labels = domain.split(".")
    sent = ".".join(map(_sent, labels))
    looks = ".".join(map(_looks, labels))
    remarks = [looks] if looks != sent else []
    remarks += filter(None, [_warning(part) for part in (local, *looks.split("."))])
    return f"{local}{at}{sent}" + (f" ({'; '.join(dict.fromkeys(remarks))})" if remarks else "")


def _sent(label: str) -> str:
    try:
        return label if label.isascii() else idna.encode(label, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return label


def _looks(label: str) -> str:
    if not label.lower().startswith("xn--"):
        return label
    try:
        seen = label[4:].encode("ascii").decode("punycode")  # also what IDNA 2008 forbids, such as emoji: a person must see it
    except UnicodeError:
        return label
    return seen if seen.isprintable() else label


def _warning(part: str) -> str | None:
    scripts = dict.fromkeys(unicodedata.name(mark, "UNKNOWN").partition(" ")[0] for mark in part if unicodedata.category(mark) in _LETTERS)
    scripts = dict.fromkeys("CJK" if script == "IDEOGRAPHIC" else script for script in scripts)
    names = " and ".join(script.capitalize() if script != "CJK" else "Chinese" for script in scripts)
    if len(scripts) < 2:
        return None if not scripts or "LATIN" in scripts else f"in {names} letters"
    return None if any(set(scripts) <= usual for usual in _TOGETHER) else f"careful: {part!r} mixes {names} letters"
