"""Privacy: no data of other people, no account numbers, and no data of the order for an unverified sender."""

import re
from collections.abc import Iterator

from pointsman_desk.case import Mail, NoOrder, Order, Policy, Reply, Trust
from pointsman_desk.guards.text import names, own, plain, without
from pointsman_desk.guards.wording import says
from pointsman_desk.models.words import fold

_CARD = re.compile(r"(?<![0-9])[0-9](?:[ .-]?[0-9]){12,18}(?![0-9])")
_IBAN = re.compile(r"(?<![A-Z0-9])[A-Z]{2}[0-9]{2}(?:[ .-]?[A-Z0-9]){11,30}(?![A-Z0-9])")
_LETTER = r"[A-Z\u00c0-\u00d6\u00d8-\u00de]"
_PERSON = rf"({_LETTER}[\w'\u2019-]{{1,40}}(?: {_LETTER}[\w'\u2019-]{{1,40}}){{0,2}})"
_TITLED = re.compile(rf"\b(?:Mr|Mrs|Ms|Miss|Dr|Herrn?|Frau|Mme|Madame|Monsieur|Mlle|Sr|Sra|Se\u00f1ora?|Don|Do\u00f1a)\b\.? {_PERSON}")
_GREETED = re.compile(
    r"\A\s*(?:Hello|Hi|Hey|Dear|Good (?:morning|afternoon|evening)|Hallo|Guten (?:Tag|Morgen|Abend)|Liebe[r]?|Sehr geehrte[r]?|Bonjour|Bonsoir"
    rf"|Ch[e\u00e8]re?|Salut|Hola|Buen(?:os|as) (?:d[i\u00ed]as|tardes)|Estimad[oa]|Querid[oa]),? {_PERSON}"
)
_OWNER = re.compile(
    r"\b(?:[Cc]ustomer|[Nn]eighbour|[Kk]unden?|[Kk]undin|[Cc]liente?|[Cc]lienta|(?:order|parcel|address) (?:of|by|for)"
    r"|(?:Bestellung|Auftrag|Adresse|Paket) (?:von|f\u00fcr)|(?:commande|adresse|colis) d[e']|(?:pedido|direcci\u00f3n|paquete) de)"
    rf" ({_LETTER}[\w'\u2019-]{{1,40}} {_LETTER}[\w'\u2019-]{{1,40}})"
)
_STREET = re.compile(
    r"\b\w{2,40}(?:stra\u00dfe|strasse|str\.|weg|platz|allee|gasse) [0-9]|\b[0-9]{1,4},? (?:bis |ter )?(?:rue|avenue|boulevard|place|chemin|impasse)\b"
    r"|\b(?:[Cc]alle|[Aa]venida|[Pp]laza|[Pp]aseo) (?:\w{1,40} ){0,4}[0-9]"
    r"|\b[0-9]{1,4}[a-z]? (?:[A-Z]\w{1,40} ){1,3}(?:Street|Road|Lane|Avenue|Drive|Close|Square|St\b|Rd\b|Ave\b)"
)
_TITLES = frozenset(
    [
        "herr",
        "herrn",
        "frau",
        "mr",
        "mrs",
        "ms",
        "miss",
        "dr",
        "mme",
        "madame",
        "monsieur",
        "mlle",
        "sr",
        "sra",
        "senor",
        "senora",
        "don",
        "dona",
        "damen",
        "und",
        "herren",
        "customer",
        "kunde",
        "kundin",
        "kundinnen",
        "kunden",
        "client",
        "cliente",
        "clienta",
        "team",
        "sir",
        "again",
        "service",
        "support",
        "care",
    ]
)


def no_personal_data(reply: Reply, order: Order | NoOrder, policy: Policy, mail: Mail, trust: Trust) -> Iterator[str]:
    """Report names and addresses of others, and numbers with the check digit of a card (ISO/IEC 7812) or account (ISO 13616)."""
    text = without(plain(reply.body), own(policy), (item.name for item in order.items) if isinstance(order, Order) else ())
    known = {*_TITLES, *fold(f"{mail.sender_name} {mail.said}").split()}
    if isinstance(order, Order) and trust.may_know_the_order:
        known |= set(fold(order.customer).split())
    for pattern in (_GREETED, _TITLED, _OWNER):
        for found in pattern.finditer(text):
            if not set(fold(found[1]).split()) <= known:
                yield f'it names a person ("{found[1]}") who is not in the mail or the order'
    if street := _STREET.search(text):
        yield f'it names a street ("{street.group()}")'
    bare = without(text, names(order, trust))
    if any(_is_card(found.group()) for found in _CARD.finditer(bare)):
        yield "it contains a payment card number"
    if any(_is_iban(found.group()) for found in _IBAN.finditer(bare.upper())):
        yield "it contains a bank account number (IBAN)"


def order_disclosed_to_customer(reply: Reply, order: Order | NoOrder, policy: Policy, mail: Mail, trust: Trust) -> Iterator[str]:
    """Report text that is not a fact of the order and, for a sender who may not know about the order, every fact of it."""
    text = without(plain(reply.body), own(policy))
    open_ = isinstance(order, Order) and trust.may_know_the_order
    if isinstance(order, Order) and not open_:
        words = f" {fold(text)} "
        facts = [order.number, order.carrier or "", order.tracking or "", *(item.name for item in order.items)]
        if fold(order.customer) != fold(mail.sender_name):
            facts.append(order.customer)
        for fact in facts:
            if fold(fact) and f" {fold(fact)} " in words:
                yield f'it contains "{fact}" of the order, but the trust in the sender is only "{trust}"'
    for status, true in _STATUS.items():
        if not isinstance(order, Order) or not open_ or order.status not in true:
            for phrase in says(text, f"status.{status}", without="condition"):
                why = f"the order is {order.status}" if isinstance(order, Order) and open_ else "the reply may not mention an order"
                yield f'it says that an order is {status} ("{phrase}"), but {why}'


_STATUS = {"shipped": ("shipped", "delivered"), "delivered": ("delivered",), "cancelled": ("cancelled",)}


def _is_card(written: str) -> bool:
    """Check the Luhn sum (ISO/IEC 7812-1, annex B)."""
    digits = [int(mark) for mark in written if mark.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(written: str) -> bool:
    """Check the remainder of 97 (ISO 13616-1; ISO/IEC 7064, MOD 97-10) for each valid length."""
    marks = "".join(mark for mark in written if mark.isalnum())
    return any(_mod_97(marks[:length]) == 1 for length in range(IBAN_MIN, min(len(marks), IBAN_MAX) + 1))


def _mod_97(marks: str) -> int:
    return int("".join(str(int(mark, 36)) for mark in marks[4:] + marks[:4])) % 97


IBAN_MIN, IBAN_MAX = 15, 34  # the shortest (Norway) and longest length (ISO 13616)
