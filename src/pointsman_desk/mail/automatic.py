"""Why a machine seems to have sent a mail: a ladder of signs, the surest first."""

import re

from pointsman_desk.mail.tree import Part

_BOUNCER = re.compile(r"(?:mailer-?daemon|mail-?daemon|mdaemon|post_?master)(?![a-z])")
_RETURNED = re.compile(
    r"(?:undeliver(?:ed|able)|mail delivery (?:failed|system)|returned mail|delivery status notification|mail system error"
    r"|unzustellbar|message non (?:distribué|remis)|correo no entregado)",
    re.IGNORECASE,
)
_NO_REPLY = re.compile(r"(?:no-?_?reply|do-?_?not-?_?reply|not?-?antworten|ne-?pas-?repondre)(?![a-z])")
_ABSENT = re.compile(
    r"(?:auto(?:matic)?[ -]?(?:reply|response)|automatische (?:antwort|beantwortung)|abwesenheit|out of (?:the )?office"
    r"|r[ée]ponse automatique|absence du bureau|respuesta autom[áa]tica|fuera de la oficina)",
    re.IGNORECASE,
)
_LIST_FIELDS = ("list-id", "list-post", "list-unsubscribe", "list-help", "list-subscribe", "list-owner", "list-archive")
_REPLY_FIELDS = ("x-autoreply", "x-autorespond", "x-autoresponder")
_OTHER_FIELDS = ("x-auto-response-suppress", "x-loop")


def automatic(root: Part, media_types: set[str], sender: str, subject: str) -> str | None:
    """Return "bounce", "out of office", "mailing list" or "automatic"; None for what a person seems to have written.

    The signs are those of RFC 3464 (delivery reports), RFC 3834 (automatic responses) and RFC 2369 and 2919 (lists),
    then the fields that common mailers set; a subject line counts last. `media_types` are those of all parts.
    """
    submitted = _word(root, "auto-submitted")
    precedence = _word(root, "precedence")
    if _is_report_of_failure(root, media_types) or root.fields("x-failed-recipients") or _BOUNCER.match(sender):
        return "bounce"
    replied = submitted == "auto-replied" or precedence == "auto_reply" or any(map(root.fields, _REPLY_FIELDS))
    if replied or (_ABSENT.match(subject.strip()) and not submitted.startswith("auto-generated")):
        return "out of office"
    if any(map(root.fields, _LIST_FIELDS)) or precedence in {"list", "bulk", "junk"}:
        return "mailing list"
    if "<>" in {value.strip() for name in ("return-path", "from") for value in root.fields(name)}:
        return "bounce"
    if _RETURNED.match(subject.strip()):
        return "bounce"
    if submitted not in {"", "no"} or "multipart/report" in media_types or any(map(root.fields, _OTHER_FIELDS)):
        return "automatic"
    if media_types & {"message/disposition-notification", "message/feedback-report"} or _NO_REPLY.match(sender):
        return "automatic"
    return None


def _word(root: Part, name: str) -> str:
    return root.field(name).partition(";")[0].strip().lower()


def _is_report_of_failure(root: Part, media_types: set[str]) -> bool:
    kind = root.parameters("content-type").get("report-type", "").lower()
    return "message/delivery-status" in media_types or (root.media_type == "multipart/report" and kind == "delivery-status")
