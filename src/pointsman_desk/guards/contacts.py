"""Contacts: a reply contains only links, addresses and numbers that the policy allows."""

import re
from collections.abc import Iterator

from pointsman_desk.case import NoOrder, Order, Policy, Reply, Trust
from pointsman_desk.guards.text import names, own, plain, without
from pointsman_desk.models.words import fold

PHONE_DIGITS_MIN = 7  # the shortest telephone numbers that work nationwide

_ENDINGS = "com|net|org|info|biz|io|eu|de|fr|es|at|ch|uk|us|it|me|co|ly|shop|store|online|site|xyz|top|app|dev|link|click|ru|cn|example|test|invalid"
_LINK = re.compile(
    r"[a-z][a-z0-9+.-]{1,20}:/?/|(?<!\w)//\w|\bwww\.|\bhxxps?\b|\b(?:mailto|tel|sms|javascript|data|file):"
    rf"|[a-z0-9-]\.(?:{_ENDINGS})\b|\w ?\. ?(?:com|net|org)\b"
)
_HOST = re.compile(r"(?<![\w.-])[a-z0-9-]{2,63}(?:\.[a-z0-9-]{2,63}){0,9}\.[a-z]{2,24}(?![\w.]\w)")  # matched in its original case
_NUMERIC = re.compile(r"(?<![\w.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w.]\w)")
_SPOKEN = re.compile(
    r"\w ?[\[({<] ?(?:at|dot|punkt|point|punto|arroba|arobase|klammeraffe) ?[\])}>] ?\w"
    r"|\w (?:at|arroba|arobase|klammeraffe) \w[\w-]* (?:dot|punkt|point|punto) \w"
    rf"|\w (?:dot|punkt|point|punto) (?:{_ENDINGS})\b"
)
_DIGIT_WORDS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|null|eins|zwei|zwo|drei|vier|funf|sechs|sieben|acht|neun"
    "|un|deux|trois|quatre|cinq|sept|huit|neuf|cero|uno|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|double"
)
_DICTATED = re.compile(rf" (?:(?:{_DIGIT_WORDS}) ){{4}}")
_PHONE = re.compile(r"(?:\+|\b)[0-9](?:[ ()/.\u2010-\u2015-]{0,3}[0-9]){6,40}")
_DATE = re.compile(r"(?<![0-9./-])(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}[./-][0-9]{1,2}[./-](?:[0-9]{4}|[0-9]{2}))(?![0-9]|[./-][0-9])")


def no_links_or_addresses(reply: Reply, order: Order | NoOrder, policy: Policy, trust: Trust) -> Iterator[str]:
    """Report each link, e-mail address or telephone number that the policy does not allow."""
    written = without(plain(f"{reply.body}\n\n{reply.subject}"), own(policy))
    text = written.casefold()
    if "@" in text:
        yield "it contains an e-mail address that is not the shop's"
    elif _LINK.search(text) or _HOST.search(written) or _NUMERIC.search(text):
        yield "it contains a link that is not in links_allowed of the policy"
    elif _SPOKEN.search(text) or _DICTATED.search(f" {fold(text)} "):
        yield "it spells out a link, an address or a number"
    if _PHONE.search(_DATE.sub(" ", without(plain(reply.body), own(policy), names(order, trust)))):
        yield f"it contains a number of {PHONE_DIGITS_MIN} or more digits that is not from the order, such as a telephone or card number"
