"""Find the signs that a machine sent a mail, from surest to weakest, and the evidence of each.

People's mail programs also produce many of these signs, and people write "Undelivered parcel" into a subject. So a sign alone closes no
mail. `Evidence` is what the bytes of a mail prove. `nodes/machines.py` compares it with the mails that we sent, and only both together
are a proof:

- "delivery report": a multipart/report whose delivery status names a recipient and an action (RFC 3464), from a mail server. It
  is a proof by itself if a machine sent the reported mail ("report on a machine's mail", shown by the returned copy), because then only
  machines take part. Otherwise it is a proof if the reported mail is ours.
- "feedback report" (RFC 5965), "receipt" (RFC 8098), "bounce in words" (from a mail server, with the Message-ID of a mail) and
  "automatic reply" (`Auto-Submitted: auto-replied`, RFC 3834): a proof if the mail that they report or answer is ours.
- "list post": a mail to the address of a list (RFC 2369, RFC 2919) that is not at our domain, and not to us: a proof if it names no
  order and asks no customer's question.

All other signs, such as a subject, `Precedence`, `List-Unsubscribe`, `Return-Path: <>` or a no-reply address, make a mail
*probably automatic*: a person decides.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from pointsman_desk.case import Automatic, Evidence
from pointsman_desk.mail.headers import addresses
from pointsman_desk.mail.reports import is_delivery_report, returned_id, returned_sender
from pointsman_desk.mail.tree import Part

HOPS_MAX = 100  # relays; RFC 5321 6.3 treats a mail that has passed this many as a loop

_BOUNCER = re.compile(r"(?:mailer-?daemon|mail-?daemon|mdaemon|post_?master)(?![a-z])", re.IGNORECASE)
_BOUNCER_NAME = re.compile(r"(?:mail delivery (?:sub)?system|mailer-daemon)\b", re.IGNORECASE)
_NO_REPLY = re.compile(r"(?:no-?_?reply|do-?_?not-?_?reply|not?-?antworten|nicht-?antworten|ne-?pas-?repondre|no-?responder)(?![a-z])")
_COMPLAINT = re.compile(r"complaint about message from \d", re.IGNORECASE)  # the one large provider whose reports are not multipart/report
# The beginnings of mailers' subjects, in their most frequent languages.
_RETURNED = re.compile(
    r"(?:undeliver(?:ed|able)|mail delivery (?:failed|failure|system)|returned mail|delivery (?:status notification|failure|has failed)"
    r"|mail system error|failure notice|unzustellbar|nicht zustellbar|message non (?:distribué|remis)|non remis"
    r"|correo no entregado|no se puede entregar|mancata consegna|impossibile recapitare|não (?:é possível entregar|entregue)"
    r"|niet-bestelbaar|onbestelbaar|niedostarczon|nie można dostarczyć|kan inte levereras|olevererbart|kan ikke leveres"
    r"|toimittamat(?:on|ta)|nedoručiteln|недоставлен|не доставлен|配信不能|配信できません|无法投递|退信|배달되지 않음)",
    re.IGNORECASE,
)
_ABSENT = re.compile(
    r"(?:auto(?:matic)?[ -]?(?:reply|response)|out of (?:the )?office|automatische (?:antwort|beantwortung)|abwesenheit"
    r"|r[ée]ponse automatique|absence du bureau|respuesta autom[áa]tica|fuera de la oficina|risposta automatica|fuori sede"
    r"|resposta autom[áa]tica|automatisch antwoord|afwezig(?:heid)?\b|autosvar|automatiskt svar|automatisk svar|fravær|frånvaro"
    r"|automaattinen vastaus|poissa|automatyczna odpowied[źz]|automatick[áa] odpov[ěe][ďd]|автоматический ответ|автоответ"
    r"|自動(?:返信|応答)|不在|自动(?:回复|答复)|자동 ?(?:회신|응답))",
    re.IGNORECASE,
)
_LIST_FIELDS = (
    "list-id", "list-post", "list-unsubscribe", "list-help", "list-subscribe", "list-owner", "list-archive",
    "x-mailing-list", "x-mlserver", "x-ml-name",
)  # fmt: skip
_REPLY_FIELDS = ("x-autoreply", "x-autorespond", "x-autoresponder")
_MAILTO = re.compile(r"mailto:([^>?\s]{1,320})", re.IGNORECASE)
_LIST_ID = re.compile(r"<?([a-z0-9._-]{1,255})>?\s*$", re.IGNORECASE)  # RFC 2919 3: after an optional phrase
_OTHER_FIELDS = ("x-auto-response-suppress", "x-loop")


class Sign(NamedTuple):
    """The kind of machine that seems to have sent a mail, and what its bytes prove (None for nothing)."""

    kind: Automatic
    evidence: Evidence | None = None


def automatic(
    root: Part, media_types: Collection[str], sender: str, sender_name: str, subject: str, *, reply_to: str | None = None, own: str = ""
) -> Sign | None:
    """Return the kind of machine that seems to have sent the mail; None for a person.

    The signs are those of RFC 5965 (abuse reports), RFC 8098 (receipts), RFC 3464 (delivery reports), RFC 3834 (automatic
    responses) and RFC 2369 and 2919 (lists), then the fields that common mailers set, and last the subject.
    `media_types` are those of all parts, `reply_to` is a single address in Reply-To, and `own` the desk's address ("" for none).
    """
    subject = subject.strip()
    report = _report(root, media_types, sender, sender_name, subject)
    if report is not None:
        return report
    submitted, precedence = _word(root, "auto-submitted"), _word(root, "precedence")
    if submitted == "auto-replied":
        return Sign("out of office", "automatic reply")
    listed = _listed(root, precedence, own)
    if listed is not None or names_another(sender, reply_to, own):
        return listed
    if precedence == "auto_reply" or any(map(root.fields, _REPLY_FIELDS)) or (_ABSENT.match(subject) and submitted != "auto-generated"):
        return Sign("out of office")
    if "<>" in {value.strip() for name in ("return-path", "from") for value in root.fields(name)} or _RETURNED.match(subject):
        return Sign("bounce")
    if submitted not in {"", "no"} or any(map(root.fields, _OTHER_FIELDS)) or _NO_REPLY.match(sender):
        return Sign("automatic")
    return None


def went_round(root: Part, sender: str, reply_to: str | None, own: str) -> Sign | None:
    """Return a sign if the mail seems to be in a loop, or to come from the desk itself; `own` is its address ("" for none).

    A mail with another address in Reply-To is a customer's: a form on the shop's pages sends such mails.
    """
    if len(root.fields("received")) > HOPS_MAX:
        return Sign("loop")
    if own and any(plain(value) == plain(own) for value in root.fields("x-loop")):
        return Sign("loop")
    if own and plain(sender) == plain(own) and (reply_to is None or plain(reply_to) == plain(own)):
        return Sign("own address")
    return None


def names_another(sender: str, reply_to: str | None, own: str) -> bool:
    """Return whether the mail comes from a no-reply address or the desk's own, and names another address in Reply-To."""
    if reply_to is None or plain(reply_to) in {plain(sender), plain(own)}:
        return False
    return _NO_REPLY.match(sender) is not None or (bool(own) and plain(sender) == plain(own))


def plain(address: str) -> str:
    """Return an address without its tag after a plus, which its mailbox does not need (RFC 5233)."""
    local, _, domain = address.strip(" \t<>").lower().rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


def _report(root: Part, media_types: Collection[str], sender: str, sender_name: str, subject: str) -> Sign | None:
    """Return a sign if the mail is a machine's report on another mail."""
    whole = root.media_type == "multipart/report"
    report = root.parameters("content-type").get("report-type", "").lower() if whole else ""
    if "message/feedback-report" in media_types or report == "feedback-report" or _COMPLAINT.match(subject):
        return Sign("abuse report", "feedback report" if whole and "message/feedback-report" in media_types else None)
    if "message/disposition-notification" in media_types or report == "disposition-notification":
        return Sign("read receipt", "receipt" if whole and "message/disposition-notification" in media_types else None)
    from_server = any((_BOUNCER.match(sender), _BOUNCER.match(root.field("from").strip(' \t"<')), _BOUNCER_NAME.match(sender_name)))
    if whole and (from_server or "<>" in {value.strip() for value in root.fields("return-path")}) and is_delivery_report(root):
        author = returned_sender(root)
        by_machine = _BOUNCER.match(author) or _NO_REPLY.match(author)  # without a copy it may report anybody's mail
        return Sign("bounce", "report on a machine's mail" if by_machine else "delivery report")
    if "message/delivery-status" in media_types or report or root.fields("x-failed-recipients"):
        return Sign("bounce" if report in {"", "delivery-status"} else "automatic")
    if from_server:
        return Sign("bounce", "bounce in words" if returned_id(root, "") is not None else None)
    return None


def _listed(root: Part, precedence: str, own: str) -> Sign | None:
    """Return a sign if the mail was sent to many. The shop's own lists do not count, because customers write to them."""
    if precedence not in {"list", "bulk", "junk"} and not any(map(root.fields, _LIST_FIELDS)):
        return None
    home = own.rpartition("@")[2].lower()
    posts = {address for _, address in addresses(_MAILTO.findall(" ".join(root.fields("list-post"))), set())}
    named = _LIST_ID.search(root.field("list-id"))
    if home and (any(_within(post.rpartition("@")[2], home) for post in posts) or (named is not None and _within(named[1].lower(), home))):
        return None
    to = {plain(address) for _, address in addresses([*root.fields("to"), *root.fields("cc")], set())}
    posted = named is not None and not to.isdisjoint(map(plain, posts)) and not any(_within(one.rpartition("@")[2], home) for one in to)
    return Sign("mailing list", "list post" if posted else None)


def _within(domain: str, home: str) -> bool:
    return bool(home) and (domain == home or domain.endswith(f".{home}"))


def _word(root: Part, name: str) -> str:
    return root.field(name).partition(";")[0].strip().lower()
