"""What clients, gateways and people put around the text of a mail, as chunks between which a sentence can stand.

A wrapper whose marked lines are proved to be history `proves`: what is put into it with a mark of its own is history, too.
"""

import html
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP

TEXT = "{text}"
OURS = """Hello Jane,

thank you for your mail. The parcel has left our house, and the carrier will bring it within the next days.

Your Haus & Hof team"""


@dataclass(frozen=True)
class Wrapper:
    """A way to write a mail around its text.

    `chunks` are its pieces, one of them `TEXT`, in plain text or, with `markup`, in HTML. `answers` says that it names the
    mail that it answers, `known` are texts that the desk holds, `flowed` that its lines are wrapped (RFC 3676).
    """

    name: str
    chunks: tuple[str, ...]
    proves: bool = False
    answers: bool = False
    markup: bool = False
    known: tuple[str, ...] = ()
    flowed: bool = False
    encoding: str = "8bit"


def plain(name: str, *chunks: str, **more: bool | str | tuple[str, ...]) -> Wrapper:
    """A wrapper in plain text."""
    return Wrapper(name, chunks, **more)  # type: ignore[arg-type]


def markup(name: str, *chunks: str, **more: bool | str | tuple[str, ...]) -> Wrapper:
    """A wrapper in HTML."""
    return Wrapper(name, chunks, markup=True, **more)  # type: ignore[arg-type]


QUOTE = ("> Hello Jane,", ">", "> Which order is it about?", "> Your Haus & Hof team")
UNMARKED = ("Hello Jane,", "Which order is it about?", "Your Haus & Hof team")
ATTRIBUTIONS = {
    "Gmail": "On Mon, 2 Nov 2026 at 10:00, Haus & Hof <support@haus-und-hof.example> wrote:",
    "Gmail, wrapped": "On Mon, Nov 2, 2026 at 10:00 AM Haus & Hof Kundenservice Deutschland <\nsupport@haus-und-hof.example> wrote:",
    "Gmail, German": "Am Mo., 2. Nov. 2026 um 10:00 Uhr schrieb Haus & Hof <support@haus-und-hof.example>:",
    "Thunderbird, German": "Am 02.11.26 um 10:00 schrieb Haus & Hof:",
    "Inbox, German": "Haus & Hof <support@haus-und-hof.example> schrieb am Mo., 2. Nov. 2026 um 10:00 Uhr:",
    "Gmail, French": "Le lun. 2 nov. 2026 à 10:00, Haus & Hof <support@haus-und-hof.example> a écrit :",
    "Gmail, Spanish": "El lun, 2 nov 2026 a las 10:00, Haus & Hof (<support@haus-und-hof.example>) escribió:",
    "Apple Mail, Dutch": "Op 2 nov. 2026 om 10:00 heeft Haus & Hof <support@haus-und-hof.example> het volgende geschreven:",
    "Gmail, Russian": "пн, 2 нояб. 2026 г. в 10:00, Haus & Hof <support@haus-und-hof.example>:",
    "Zoho": "---- On Mon, 02 Nov 2026 10:00:00 +0100 Haus & Hof <support@haus-und-hof.example> wrote ----",
    "date first": "2026-11-02 10:00 GMT+01:00 Haus & Hof <support@haus-und-hof.example>:",
}
HEADERS = {
    "Outlook": ("From: Haus & Hof <support@haus-und-hof.example>", "Sent: Monday, 2 November 2026 10:00", "To: Jane Doe", "Subject: Your order"),
    "Outlook, German": ("Von: Haus & Hof <support@haus-und-hof.example>", "Gesendet: Montag, 2. November 2026 10:00", "An: Jane Doe", "Betreff: Bestellung"),
    "Outlook, French": ("De : Haus & Hof <support@haus-und-hof.example>", "Envoyé : lundi 2 novembre 2026 10:00", "À : Jane Doe", "Objet : Commande"),
    "Hotmail": ("Date: Mon, 2 Nov 2026 10:00:00 +0000", "Subject: Your order", "From: support@haus-und-hof.example", "To: jane@post.example"),
}  # fmt: skip
SIGNATURES = {
    "delimiter": ("-- ", "Jane Doe", "Oak Lane 4", "Tel. +44 20 7946 0000"),
    "dashes": ("--", "Jane Doe"),
    "firm": (
        "-- ",
        "Mit freundlichen Grüßen",
        "Johanna Weiß",
        "Weiß & Söhne GmbH",
        "Lange Straße 12a",
        "10115 Berlin",
        "www.weiss.example",
    ),
    "French": ("-- ", "Cordialement,", "Jeanne Dupont", "12 rue de la Paix", "75002 Paris"),
    "iPhone": ("Sent from my iPhone",),
    "Android, German": ("Von meinem Samsung Galaxy Smartphone gesendet.",),
    "Outlook, telephone": ("Get Outlook for Android<https://aka.ms/AAb9ysg>",),
    "Yahoo": ("Sent from Yahoo Mail on Android",),
    "delimiter and telephone": ("-- ", "Jane", "Sent from my iPhone"),
}
FOOTERS = {
    "disclaimer": ("", "This e-mail and any files with it are confidential and meant for the named person only.", "Please tell us if you got it by mistake."),
    "scanner": ("", "________________________________", "Checked for viruses by Example Antivirus"),
    "list": ("_______________________________________________", "support mailing list", "support@lists.haus-und-hof.example"),
    "recycling": ("", "P Please consider the environment before printing this e-mail."),
    "stars": ("*********************************", "Jane Doe, Example Ltd"),
}  # fmt: skip
BANNERS = {
    "external": ("[EXTERNAL] This message comes from outside of the organisation.", ""),
    "caution": ("CAUTION: This email originated from outside.", "----------------------------", ""),
    "ticket": ("##- Please type your reply above this line -##", ""),
    "greeting": ("Dear Sir or Madam,", ""),
}
PLAIN = [
    plain("nothing", TEXT),
    plain("base64", TEXT, encoding="base64"),
    plain("quoted-printable", TEXT, encoding="quoted-printable"),
    plain("flowed", TEXT, "-- ", "Jane", flowed=True),
    *(plain(f"signature: {name}", TEXT, "", *lines) for name, lines in SIGNATURES.items()),
    *(plain(f"footer: {name}", TEXT, *lines) for name, lines in FOOTERS.items()),
    *(plain(f"banner: {name}", *lines, TEXT) for name, lines in BANNERS.items()),
    *(plain(f"answer: {name}", TEXT, "", line, *QUOTE, proves=True, answers=True) for name, line in ATTRIBUTIONS.items()),
    *(plain(f"marked, answers none: {name}", TEXT, "", line, *QUOTE) for name, line in ATTRIBUTIONS.items()),
    *(plain(f"unmarked: {name}", TEXT, "", line, "", *UNMARKED, proves=True, answers=True) for name, line in ATTRIBUTIONS.items()),
    *(plain(f"unmarked: {name}", TEXT, "________________________________", *lines, "", *UNMARKED, answers=True) for name, lines in HEADERS.items()),
    plain("known", TEXT, "", *HEADERS["Outlook"], "", *OURS.split("\n"), answers=True, known=(OURS,)),
    plain("known, marked", TEXT, "", ATTRIBUTIONS["Gmail"], *(f"> {line}" for line in OURS.split("\n")), proves=True, answers=True, known=(OURS,)),
    plain("original message", TEXT, "", "-----Original Message-----", *UNMARKED),
    plain("forwarded, Gmail", TEXT, "", "---------- Forwarded message ---------", *HEADERS["Outlook"], "", *UNMARKED),
    plain("forwarded, Apple", TEXT, "", "Begin forwarded message:", "", *(f"> {line}" for line in (*HEADERS["Outlook"], *UNMARKED))),
    plain("quoted by hand", TEXT, "", "On 2 November your colleague wrote:", *QUOTE, answers=True),
    plain("told by hand", TEXT, "", "On 2 November 2026 your colleague Emma wrote:", "", '"It will come soon."'),
    plain("marks without attribution", *QUOTE[:3], TEXT, *QUOTE[3:]),
    plain("answer at the bottom", ATTRIBUTIONS["Gmail"], *QUOTE, "", TEXT, proves=True, answers=True),
    plain("answers between", ATTRIBUTIONS["Gmail"], *QUOTE[:2], TEXT, *QUOTE[2:], proves=True, answers=True),
    plain("contact form", "Name: Jane Doe", "E-mail: jane@post.example", "Message:", TEXT, "", "Sent through the form of haus-und-hof.example"),
    plain("form with header lines", TEXT, "", "From: Jane Doe", "Date: 18 Nov 2026", "Subject: An order", "Message: hello"),
    plain("rulers", "==========", TEXT, "----------", "Jane", "~~~~~~~~~~"),
    plain("postscript", TEXT, "", "Jane", "", "PS: thank you"),
    plain("indented", TEXT, "", "    Jane", "\tOak Lane 4"),
    plain("long quotation", TEXT, "", "\n".join(["> an old line of the conversation"] * 1_200)),
    plain("beyond the cut", TEXT, "", ATTRIBUTIONS["Gmail"], "\n".join(["> an old line of the conversation"] * 8_000), answers=True, proves=True),
]  # fmt: skip
GMAIL_HTML = (
    f'<div class="gmail_quote"><div class="gmail_attr">{html.escape(ATTRIBUTIONS["Gmail"])}</div>',
    '<blockquote class="gmail_quote" style="border-left:1px solid #ccc">Hello Jane,<br>which order is it about?</blockquote></div>',
)
HTML = [
    markup("html", TEXT),
    markup("html, division", '<div dir="ltr">', TEXT, "</div>"),
    markup("html, table", "<table><tr><td>", TEXT, "</td></tr></table>"),
    markup("html, indented", '<blockquote style="margin:0 0 0 40px;border:none;padding:0px">', TEXT, "</blockquote>"),
    markup("html, signature", TEXT, '<div class="gmail_signature"><br>-- <br>', "Jane Doe<br>", "</div>"),
    markup("html, answer in Gmail", TEXT, *GMAIL_HTML, answers=True),
    markup("html, Gmail, answers none", TEXT, *GMAIL_HTML),
    markup("html, Apple", TEXT, '<blockquote type="cite"><div>On 2 Nov 2026, at 10:00, Haus &amp; Hof wrote:</div><div>Which order?</div></blockquote>', answers=True),
    markup("html, Outlook", TEXT, '<hr><div id="divRplyFwdMsg"><b>From:</b> Haus &amp; Hof<br><b>Sent:</b> Monday, 2 November 2026<br><b>To:</b> Jane<br><b>Subject:</b> Your order</div>', "<p>Which order?</p>", answers=True),
    markup("html, Thunderbird", TEXT, '<div class="moz-cite-prefix">On 02.11.26 10:00, Haus &amp; Hof wrote:<br></div><blockquote type="cite" cite="mid:x@y">Which order?</blockquote>', answers=True),
    markup("html, Yahoo", TEXT, '<div class="yahoo_quoted">On Monday, 2 November 2026 at 10:00, Haus &amp; Hof &lt;support@haus-und-hof.example&gt; wrote:<br>', "Which order?", "</div>", answers=True),
]  # fmt: skip
WRAPPERS = [*PLAIN, *HTML]


@dataclass(frozen=True)
class Place:
    """Where a sentence is put: before the chunk of this number, or behind the last one, and in what way."""

    chunk: int
    way: str


def places(wrapper: Wrapper) -> list[Place]:
    """Every place of a wrapper that is outside of proved history."""
    ways = ["paragraph"] if wrapper.markup else ["line", "paragraph"]
    if not wrapper.markup and not wrapper.proves and not wrapper.known:
        ways.append("marked")
    return [Place(chunk, way) for chunk in range(len(wrapper.chunks) + 1) for way in ways]


def raw(wrapper: Wrapper, text: str, subject: str, sentence: str = "", place: Place | None = None) -> bytes:
    """The mail as the desk's own mail server would hand it over, with the `sentence` in its `place`."""
    chunks = [chunk.replace(TEXT, _paragraphs(text) if wrapper.markup else text) for chunk in wrapper.chunks]
    if place is not None:
        chunks.insert(place.chunk, _put(sentence, place, markup=wrapper.markup))
    body = "".join(chunks) if wrapper.markup else "\n".join(chunks)
    mail = _mail(wrapper, subject)
    mail.set_content(body, subtype="html" if wrapper.markup else "plain", cte=wrapper.encoding)
    if wrapper.flowed:
        mail.set_param("format", "flowed")
    return mail.as_bytes()


def both(wrapper: Wrapper, text: str, subject: str, sentence: str = "", chunk: int = 0) -> bytes:
    """The mail of a wrapper in plain text with an HTML part that says the same, and the `sentence` before the chunk of this number."""
    chunks = [chunk.replace(TEXT, text) for chunk in wrapper.chunks]
    mail = _mail(wrapper, subject)
    mail.set_content("\n".join(chunks), cte=wrapper.encoding)
    shown = [_marked(chunk) if chunk.startswith("> ") else _paragraphs(chunk) for chunk in chunks]
    shown[chunk:chunk] = [f"<p>{html.escape(sentence)}</p>"] if sentence else []
    mail.add_alternative(f"<html><body>{''.join(shown)}</body></html>", subtype="html")
    return mail.as_bytes()


def _mail(wrapper: Wrapper, subject: str) -> EmailMessage:
    mail = EmailMessage(policy=SMTP)
    mail["Authentication-Results"] = "mx.haus-und-hof.example; dmarc=pass header.from=post.example"
    mail["From"], mail["To"] = "Jane Doe <jane@post.example>", "support@haus-und-hof.example"
    mail["Subject"] = " ".join(subject.split())
    mail["Date"], mail["Message-ID"] = "Fri, 20 Nov 2026 09:00:00 +0000", "<wrapped@post.example>"
    if wrapper.answers:
        mail["In-Reply-To"] = "<ours@haus-und-hof.example>"
    return mail


def _marked(chunk: str) -> str:
    return f'<blockquote type="cite">{"<br>".join(html.escape(line.removeprefix("> ")) for line in chunk.split(chr(10)))}</blockquote>'


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{html.escape(paragraph)}</p>".replace("\n", "<br>") for paragraph in text.split("\n\n"))


def _put(sentence: str, place: Place, *, markup: bool) -> str:
    if markup:
        return f"<p>{html.escape(sentence)}</p>"
    return {"line": sentence, "paragraph": f"\n{sentence}\n", "marked": f"> {sentence}"}[place.way]
