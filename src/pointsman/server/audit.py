"""The words of the audit log: the name of what a request did, and a sentence for people."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

API = ("api", "v1")

SAID: Mapping[str, str] = MappingProxyType({
    "start": "started {case}",
    "send": "sent a message to {case}",
    "answer": "answered {case}",
    "assign": "assigned {case} to {to}",
    "cancel": "cancelled {case}",
    "redrive": "redrove {case}",
    "resolve": "said whether an effect of {case} happened",
    "erase": "erased the content of {case}",
    "erase person": "erased {count} of a person ({person})",
    "pause intake": "paused the intake",
    "resume intake": "resumed the intake",
    "redeliver": "let a subscriber be called again, or forgot what it had given up",
    "vacuum": "compacted the file",
    "sign in": "signed in",
    "sign out": "signed out",
    "put user": "made {user} a user with the role {role}",
    "remove user": "removed the user {user}",
    "add token": "added the token {token} for {scopes}",
    "remove token": "removed the token {token}",
})  # fmt: skip
"""What an action is called once it is done. An application names its own actions in `said` of the entry."""

_ACTIONS: Mapping[tuple[str, ...], str] = MappingProxyType({
    ("cases",): "start",
    ("messages",): "send",
    ("subscribers", "redeliver"): "redeliver",
    ("task",): "answer",
    ("effects", "resolve"): "resolve",
    ("persons", "erase"): "erase person",
    ("intake", "pause"): "pause intake",
    ("intake", "resume"): "resume intake",
    ("operations", "intake"): "change intake",
    ("operations", "bulk"): "operate on many cases",
    ("sign-in",): "sign in",
    ("sign-out",): "sign out",
})  # fmt: skip
"""The action of a path, without what is before it and without its case. Any other path is an action by its own words."""

_WORD = re.compile(r"\{(\w+)\}")


class Entry(NamedTuple):
    """An entry of the audit log: who did what, and about what. `digest` covers this entry and the digest before it.

    `did` is the name of the action. `about` has the `case` if there is one, the `status` of the answer (RFC 9110, 15), and who is named as the one who
    decided (`by`), if that is another person.
    """

    number: int
    at: float
    who: str
    did: str
    about: dict[str, Any]
    digest: str


def action_of(path: str) -> tuple[str, dict[str, Any]]:
    """Return the action of a request that changes something, and the case that its path names."""
    parts = tuple(part for part in path.split("/") if part)
    if parts[:2] == API:
        parts = parts[2:]
    about: dict[str, Any] = {}
    if len(parts) == 3 and parts[0] == "cases" and parts[1].isascii() and parts[1].isdecimal():
        about["case"], parts = int(parts[1]), parts[2:]
    return _ACTIONS.get(parts, " ".join(parts) or "request"), about


def sentence(entry: Entry) -> str:
    """Say in a sentence what an entry of the audit log is about."""
    about, case = entry.about, _case(entry.about)
    who = entry.who or about.get("user") or "somebody"
    named = f" in the name of {about['by']}" if "by" in about else ""
    why = f": {about['why']}" if about.get("why") else ""
    status = about.get("status", 200)
    if status >= 400:
        ended = "the program failed" if status >= 500 else "was refused"
        return f"{who}{named} tried to {entry.did}{f' ({case})' if case else ''} and {ended} ({status}){why}"
    said = about.get("said") or SAID.get(entry.did)
    if said is None:
        return f"{who}{named} did: {entry.did}{f' ({case})' if case else ''}{why}"
    words = {**about, "scopes": ", ".join(about.get("scopes", ())), "case": case or "a case"}
    told = _WORD.sub(lambda found: str(words.get(found[1], "")), said)
    return f"{who} {told}{named}{why}"


def _case(about: Mapping[str, Any]) -> str:
    if (case := about.get("case")) is not None:
        return f"case {case}"
    cases = about.get("cases", ())
    return f"cases {', '.join(map(str, cases))}" if cases else ""
