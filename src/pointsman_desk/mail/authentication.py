"""Read the Authentication-Results header field (RFC 8601), in which our mail exchanger says who sent a mail."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pointsman_desk.case import Authentication
from pointsman_desk.mail.characters import clean
from pointsman_desk.mail.headers import single_address
from pointsman_desk.mail.tree import HEADER_MAX, Part

MICROSOFT_365 = "microsoft365"  # its exchangers do not name themselves, so only the topmost field can be theirs
RESULTS_MAX = 100  # a forwarded mail with a dozen signatures has one for each
WHY_MAX = 200  # characters; one line for a person

_BARE_CR = re.compile(rb"\r(?!\n)")
_FROM = re.compile(rb"^from[ \t]*:", re.IGNORECASE | re.MULTILINE)
_VERSION = "1"  # RFC 8601 2.2: other versions are not understood


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one method: `dmarc`, `pass`, and the properties that it checked, such as ("header.from", "post.example")."""

    method: str
    value: str
    properties: tuple[tuple[str, str], ...] = ()

    def named(self, name: str) -> list[str]:
        """Return all values of a property."""
        return [value for found, value in self.properties if found == name]


@dataclass(frozen=True, slots=True)
class Results:
    """A parsed header field: the server that wrote it ("" for none, as in Microsoft 365), and the result of each method."""

    authserv: str
    results: tuple[Result, ...] = ()


def authentication(raw: bytes, root: Part, sender: str, authserv: str) -> Authentication:
    """Return whether the mail exchanger `authserv` found that the mail came from the domain of `sender`. Never raises.

    Only its topmost field counts, because anybody may have written those below. It must have exactly one DMARC check, passed
    for the domain in From. `authserv` is the name that the exchanger writes (its authserv-id), `microsoft365`, or "" for
    nobody. `raw` are the bytes of `root`. The exchanger must remove fields that claim its name from incoming mails (RFC 8601 5).
    """
    if not authserv:
        return Authentication()
    if _ambiguous(raw) or single_address(root.fields("from")) != sender:
        return Authentication(why="From does not name exactly one plain address")
    found = _of(root.fields("authentication-results"), authserv.lower())
    if found is None:
        return Authentication(why=f"{authserv} wrote no readable result")
    checks = [result for result in found.results if result.method == "dmarc"]
    if len(checks) != 1:
        return Authentication(why=f"{authserv} reports {len(checks)} DMARC checks instead of one")
    [check] = checks
    domains = check.named("header.from")
    why = _line(f"{authserv} says dmarc={check.value} for {' and '.join(domains) or 'no domain'}")
    passed = check.value == "pass" and len(domains) == 1 and _speaks_for(domains[0], sender.rpartition("@")[2])
    return Authentication(aligned=passed, why=why)


def _ambiguous(raw: bytes) -> bool:
    """Return whether another parser may read another From: a line break within the field, or a second From.

    The exchanger's result is only about the domain, and one domain has many customers.
    """
    ends = [end for empty in (b"\n\n", b"\n\r\n") if (end := raw.find(empty)) >= 0]
    head = raw[: min(ends) + 1] if ends else raw
    return _BARE_CR.search(head) is not None or len(_FROM.findall(head)) != 1


def _of(values: Sequence[str], authserv: str) -> Results | None:
    """Return the topmost field that `authserv` wrote; None without a readable one."""
    if authserv == MICROSOFT_365:
        first = read_results(values[0]) if values else None
        return first if first is not None and not first.authserv else None
    for value in values:
        found = read_results(value)
        if found is None:
            return None  # it may be the exchanger's; a field below it may be anybody's
        if found.authserv == authserv:
            return found
    return None


def _speaks_for(claimed: str, domain: str) -> bool:
    """Return whether a DMARC check for `claimed` holds for `domain`: the same domain, or the organisation above it (RFC 7489 3.1)."""
    claimed = claimed.rstrip(".")
    return domain == claimed or ("." in claimed and domain.endswith(f".{claimed}"))


def _line(text: str) -> str:
    return " ".join(clean(text, set()).split())[:WHY_MAX]


def read_results(value: str) -> Results | None:
    """Parse an Authentication-Results field; None if it cannot be parsed completely or has another version.

    Comments, quoted strings, folding, spaces within a property's name and unknown words are accepted. Names and values are
    returned in lower case.
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
    """Split a value into words and marks without comments; None if it is ambiguous."""
    tokens: list[_Token] = []
    word: list[str] = []
    depth, quoted, escaped = 0, False, False
    for character in f"{value.lower()} ":
        if escaped or (quoted and character not in '"\\'):
            word += [] if depth else character
            escaped = False
        elif character == "\\":
            if not quoted and not depth:
                return None  # no escape is allowed here (RFC 5322 3.2.1), so another parser would see another field
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
    """Parse `method=value name=value ...`; None for anything else, such as the word `none`."""
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
