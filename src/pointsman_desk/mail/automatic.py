"""Why a machine seems to have sent a mail: a ladder of signs, the surest first."""

import re
from collections.abc import Collection

from pointsman_desk.case import Automatic
from pointsman_desk.mail.tree import Part

HOPS_MAX = 100  # relays; RFC 5321 6.3 takes a mail that has passed this many for one that goes in a circle

_BOUNCER = re.compile(r"(?:mailer-?daemon|mail-?daemon|mdaemon|post_?master)(?![a-z])", re.IGNORECASE)
_BOUNCER_NAME = re.compile(r"(?:mail delivery (?:sub)?system|mailer-daemon)\b", re.IGNORECASE)
_NO_REPLY = re.compile(r"(?:no-?_?reply|do-?_?not-?_?reply|not?-?antworten|nicht-?antworten|ne-?pas-?repondre|no-?responder)(?![a-z])")
_COMPLAINT = re.compile(r"complaint about message from \d", re.IGNORECASE)  # the one large provider whose reports are no multipart/report
# What mailers write at the beginning of a subject, in the languages that most of them speak.
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
_OTHER_FIELDS = ("x-auto-response-suppress", "x-loop")


def automatic(root: Part, media_types: Collection[str], sender: str, sender_name: str, subject: str) -> Automatic | None:
    """Say what kind of machine sent the mail; None for what a person seems to have written.

    The signs are those of RFC 5965 (abuse reports), RFC 8098 (receipts), RFC 3464 (delivery reports), RFC 3834 (automatic
    responses) and RFC 2369 and 2919 (lists), then the fields that common mailers set; a subject line counts last.
    `media_types` are those of all parts.
    """
    submitted, precedence, subject = _word(root, "auto-submitted"), _word(root, "precedence"), subject.strip()
    report = root.parameters("content-type").get("report-type", "").lower() if root.media_type == "multipart/report" else ""
    if "message/feedback-report" in media_types or report == "feedback-report" or _COMPLAINT.match(subject):
        return "abuse report"
    if "message/disposition-notification" in media_types or report == "disposition-notification":
        return "read receipt"
    if "message/delivery-status" in media_types or report == "delivery-status" or root.fields("x-failed-recipients"):
        return "bounce"
    if _BOUNCER.match(sender) or _BOUNCER.match(root.field("from").strip(' \t"<')) or _BOUNCER_NAME.match(sender_name):
        return "bounce"
    replied = submitted == "auto-replied" or precedence == "auto_reply" or any(map(root.fields, _REPLY_FIELDS))
    if replied or (_ABSENT.match(subject) and not submitted.startswith("auto-generated")):
        return "out of office"
    if any(map(root.fields, _LIST_FIELDS)) or precedence in {"list", "bulk", "junk"}:
        return "mailing list"
    if "<>" in {value.strip() for name in ("return-path", "from") for value in root.fields(name)} or _RETURNED.match(subject):
        return "bounce"
    if submitted not in {"", "no"} or report or any(map(root.fields, _OTHER_FIELDS)) or _NO_REPLY.match(sender):
        return "automatic"
    return None


def went_round(root: Part, sender: str, reply_to: str | None, own: str) -> Automatic | None:
    """Say whether the mail goes in a circle, or the desk itself sent it; `own` is its address, "" for none.

    What names somebody else to be answered is a customer's, as a form on the shop's own pages sends it.
    """
    if len(root.fields("received")) > HOPS_MAX:
        return "loop"
    if own and any(_plain(value) == _plain(own) for value in root.fields("x-loop")):
        return "loop"
    if own and _plain(sender) == _plain(own) and (reply_to is None or _plain(reply_to) == _plain(own)):
        return "own address"
    return None


def _plain(address: str) -> str:
    """Return an address without the mark after a plus that its mailbox does not need (RFC 5233)."""
    local, _, domain = address.strip(" \t<>").lower().rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


def _word(root: Part, name: str) -> str:
    return root.field(name).partition(";")[0].strip().lower()
