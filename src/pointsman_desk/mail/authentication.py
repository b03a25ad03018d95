"""Who sent a mail, in the words of our own mail exchanger: the Authentication-Results header field (RFC 8601)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pointsman_desk.case import Authentication
from pointsman_desk.mail.characters import clean
from pointsman_desk.mail.headers import single_address
from pointsman_desk.mail.tree import HEADER_MAX, Part

MICROSOFT_365 = "microsoft365"  # its exchangers do not name themselves, so only the topmost field of all can be theirs
RESULTS_MAX = 100  # a dozen signatures of a forwarded mail have one each
WHY_MAX = 200  # characters; one line for a person

_BARE_CR = re.compile(rb"\r(?!\n)")
_FROM = re.compile(rb"^from[ \t]*:", re.IGNORECASE | re.MULTILINE)
_VERSION = "1"  # RFC 8601 2.2: what is of another version is not understood


@dataclass(frozen=True, slots=True)
class Result:
    """What one method found: `dmarc`, `pass`, and the properties that it looked at, such as ("header.from", "post.example")."""

    method: str
    value: str
    properties: tuple[tuple[str, str], ...] = ()

    def named(self, name: str) -> list[str]:
        """Return the values of a property, each time that it is told."""
        return [value for found, value in self.properties if found == name]


@dataclass(frozen=True, slots=True)
class Results:
    """A header field as it reads: who says so ("" where nobody is named, as in Microsoft 365), and what each method found."""

    authserv: str
    results: tuple[Result, ...] = ()


def authentication(raw: bytes, root: Part, sender: str, authserv: str) -> Authentication:
    """Say whether the mail exchanger `authserv` found that the mail came from the domain of `sender`. Never raises.

    Its topmost field counts, and none below, which anybody may have written; it must tell of one DMARC check, passed for
    the domain in From. `authserv` is the name that the exchanger writes (its authserv-id), `microsoft365`, or "" for
    nobody. `raw` are the bytes of `root`. The exchanger must remove fields that claim its name from what comes in (RFC 8601 5).
    """
    if not authserv:
        return Authentication()
    if _ambiguous(raw) or single_address(root.fields("from")) != sender:
        return Authentication(why="From does not name one plain address and no other")
    found = _of(root.fields("authentication-results"), authserv.lower())
    if found is None:
        return Authentication(why=f"{authserv} says nothing of it that can be read")
    checks = [result for result in found.results if result.method == "dmarc"]
    if len(checks) != 1:
        return Authentication(why=f"{authserv} tells of {len(checks)} DMARC checks instead of one")
    [check] = checks
    domains = check.named("header.from")
    why = _line(f"{authserv} says dmarc={check.value} for {' and '.join(domains) or 'no domain'}")
    passed = check.value == "pass" and len(domains) == 1 and _speaks_for(domains[0], sender.rpartition("@")[2])
    return Authentication(aligned=passed, why=why)


def _ambiguous(raw: bytes) -> bool:
    """Whether another reader may find another From than ours: a line within a line, or a second From that ours passes over.

    The exchanger's word is about the domain only, and one domain has many customers.
    """
    ends = [end for empty in (b"\n\n", b"\n\r\n") if (end := raw.find(empty)) >= 0]
    head = raw[: min(ends) + 1] if ends else raw
    return _BARE_CR.search(head) is not None or len(_FROM.findall(head)) != 1


def _of(values: Sequence[str], authserv: str) -> Results | None:
    """Return the topmost field that `authserv` wrote; None without one that can be read."""
    if authserv == MICROSOFT_365:
        first = read_results(values[0]) if values else None
        return first if first is not None and not first.authserv else None
    for value in values:
        found = read_results(value)
        if found is None:
            return None  # it may be the exchanger's own; what stands below it need not be
        if found.authserv == authserv:
            return found
    return None


def _speaks_for(claimed: str, domain: str) -> bool:
    """Whether a DMARC check for `claimed` is one for `domain`: it is the same, or the organisation above it (RFC 7489 3.1)."""
    claimed = claimed.rstrip(".")
    return domain == claimed or ("." in claimed and domain.endswith(f".{claimed}"))


def _line(text: str) -> str:
    return " ".join(clean(text, set()).split())[:WHY_MAX]


def read_results(value: str) -> Results | None:
    """Read an Authentication-Results field; None where it cannot be read to its end or is of another version.

    Comments, quoted strings, folding, spaces within a property's name and unknown words are all well. Names and values
    come in lower case.
    """
    if len(value) > HEADER_MAX:
        return None
    tokens = _tokens(value)
    if tokens is None:
        return None
    head, *rest = list(_segments(tokens))[: RESULTS_MAX + 1]
    if ("mark", "=") in head:  # Microsoft 365 begins with the first result
        authserv, rest = "", [head, *rest]
    else:
        words = [text for _, text in head]
        if not words or words[1:] not in ([], [_VERSION]):
            return None
        authserv = words[0]
    return Results(authserv, tuple(result for segment in rest if (result := _result(segment))))


_Token = tuple[str, str]  # ("mark", one of ";=") or ("word", what it says)


def _tokens(value: str) -> list[_Token] | None:
    """Cut a value into words and marks, comments left out; None where that cannot be done in one way."""
    tokens: list[_Token] = []
    word: list[str] = []
    depth, quoted, escaped = 0, False, False
    for character in f"{value.lower()} ":
        if escaped or (quoted and character not in '"\\'):
            word += [] if depth else character
            escaped = False
        elif character == "\\":
            if not quoted and not depth:
                return None  # it escapes nothing here (RFC 5322 3.2.1), so another reader would see another field
            escaped = True
        elif depth:
            depth += {"(": 1, ")": -1}.get(character, 0)
        elif character == '"':
            quoted = not quoted
        elif character in "(;=" or character.isspace():
            tokens += [("word", "".join(word))] if word else []
            word = []
            depth = int(character == "(")
            tokens += [("mark", character)] if character in ";=" else []
        else:
            word.append(character)
    return None if depth or quoted or word else tokens


def _segments(tokens: list[_Token]) -> Iterator[list[_Token]]:
    segment: list[_Token] = []
    for token in [*tokens, ("mark", ";")]:
        if token == ("mark", ";"):
            yield segment
            segment = []
        else:
            segment.append(token)


def _result(segment: list[_Token]) -> Result | None:
    """Read `method=value name=value ...`; None for what is none, such as the word `none`."""
    pairs: list[tuple[str, str]] = []
    name: list[str] = []
    has_value = False  # the next word is the value of `name`
    for kind, text in segment:
        if kind == "mark":
            has_value = True
        elif has_value:
            pairs.append(("".join(name), text))
            name, has_value = [], False
        else:
            name.append(text)
    if not pairs:
        return None
    (method, value), *properties = pairs
    return Result(method.partition("/")[0], value, tuple(properties))
