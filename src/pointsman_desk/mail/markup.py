"""Convert HTML to the text that its reader sees."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pointsman_desk.mail.looks import CLASSES_MAX, Look, Sheet, declarations, gone, read_sheets, without_comments

HTML_MAX = 256 * 1024  # characters; a long newsletter has 100,000, and in nested tables each costs time

_BLOCK_NAMES = (
    "address article aside blockquote body center dd div dl dt fieldset figure footer form h1 h2 h3 h4 h5 h6 header hr "
    "html li main nav ol p pre section table tbody tfoot thead tr ul"
)
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"})
_SPACED = frozenset({"p", "table", "ul", "ol", "blockquote"})
_RAW = frozenset({"script", "style"})
_UNSHOWN = _RAW | {"audio", "canvas", "datalist", "dialog", "iframe", "noembed", "noframes", "object", "template", "title", "video", "xml"}
_STYLED = {"color": "color", "text": "color", "bgcolor": "background-color"}  # attributes with the effect of styles (HTML 4.01, 15.2)
_PAGE = Look()
_CONDITION = re.compile(r"\s{0,20}\[if\b[^\]<>]{0,200}\]>", re.IGNORECASE)
_CONDITION_END = re.compile(r"<!\[endif\]$", re.IGNORECASE)
_REVEALED = {"", "<!", "<!--"}  # the text after these is shown by all programs that the condition does not exclude
_EMPTY_COMMENT = re.compile(r"-?>")
_COMMENT_END = re.compile(r"--!?>")
_IMPLIED_END = frozenset({"p", "li", "td", "th", "tr", "dt", "dd", "option"})
_ALT_WORDS_MIN = 3  # of a picture's alternative text; fewer are a name or a kind: "logo", "Smith & Sons"
_LINK_MAX = 200  # characters of a link's address; a longer one is for machines
# The classes that mail programs use for quotations.
_QUOTE_CLASSES = frozenset({"gmail_quote", "protonmail_quote", "tutanota_quote", "yahoo_quoted", "zmail_extra"})
_BAR_AT_THE_LEFT = re.compile(r"border(?:-left(?:-(?:style|width))?)?\s?:(?!\s?(?:none|0(?:px)?\s?(?:;|$)))", re.IGNORECASE)
_QUOTE_DEPTH_MAX = 9  # deeper levels look the same and would make the text grow quadratically
# A tag with balanced quotes, a tag with unbalanced quotes, a declaration, text, a lone `<`.
_TOKEN = re.compile(
    r"""<(?P<close>/?)(?P<name>[a-z][^\s<>/"'=]{0,40})"""
    r"""(?:(?P<attributes>(?:[^<>"']|"[^"<]{0,4000}"|'[^'<]{0,4000}'){0,9000}+)>|(?P<loose>[^<>]{0,9000}+)>)"""
    r"""|<[!?][^<>]{0,9000}+>|(?P<text>[^<]+|<)""",
    re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"""([^\s"'=/]{1,60})(?:\s?=\s?("[^"]*"|'[^']*'|[^\s"']+))?""")
_SPACES = re.compile(r"[ \t\r\n\f]+")
_TAG = re.compile(r"</?[a-z!?][^<>]{0,9000}+>", re.IGNORECASE)


def text_of(source: str, notes: set[str], budget: int = HTML_MAX) -> str:
    """Return the visible text of an HTML body, with `> ` before each line of a quotation and the address after each link.

    A picture's alternative sentence is in brackets. Comments, scripts, styles and hidden text are removed (`hidden-text` in `notes` if
    words were hidden). Text that a style sheet or a conditional comment may hide stays, with the same note. After the first `budget`
    characters, only tags are removed (`html-long`). The tokenizer is our own, because the standard library's parser takes 38 s for
    240 kB of `<!--` (Python 3.11); this one never looks past the next `<`.
    """
    rest = ""
    if len(source) > budget:
        end = max(source.rfind("<", 0, budget), 0)
        source, rest = source[:end], source[end:]
        notes.add("html-long")
    walker = _Walker(read_sheets(source))
    for token in _TOKEN.finditer(_uncommented(source, notes)):
        if token["name"] is None:
            walker.write(_unescaped(token["text"] or ""))
        elif token["close"]:
            walker.close(token["name"].lower())
        else:
            walker.open(token["name"].lower(), token["attributes"] or token["loose"] or "")
    if walker.hid_words:
        notes.add("hidden-text")
    return "\n".join(filter(None, [walker.text(), _stripped(_uncommented(rest, notes))]))


def _stripped(source: str) -> str:
    """Remove only the tags, for HTML that is too long to be read with its styles."""
    for begin, end in (("<style", "</style>"), ("<script", "</script>"), ("<xml", "</xml>")):
        source = without_comments(source, begin, end)
    lines = (_SPACES.sub(" ", line).strip() for line in _unescaped(_TAG.sub(" ", source)).split("\n"))
    return "\n".join(filter(None, lines))


def _uncommented(source: str, notes: set[str]) -> str:
    """Remove comments as browsers do (HTML 13.2.5.42); an unclosed one stays, so that no words are lost.

    The content of a conditional comment stays, because some mail programs show it; words there get the note `hidden-text`.
    """
    out, end = [], 0
    while (start := source.find("<!--", end)) >= 0:
        out.append(source[end:start])
        end = start
        content = start + len("<!--")
        if (empty := _EMPTY_COMMENT.match(source, content)) is not None:
            end = empty.end()
            continue
        closed = _COMMENT_END.search(source, content)
        if closed is None:
            break
        end = closed.end()
        condition = _CONDITION.match(source, content, closed.start())
        if condition is not None and (inside := source[condition.end() : closed.start()].strip()) not in _REVEALED:
            inside = _CONDITION_END.sub("", inside)
            out.append(inside)
            notes.update({"hidden-text"} if re.search(r"\w", _stripped(inside)) else ())
    return "".join([*out, source[end:].replace("<!--", "")])


def _address_of(link: str, words: str) -> str:
    """Return the address of a link, to show; nothing if its words contain the address or it has no words."""
    if not link.lower().startswith(("http://", "https://", "mailto:")) or not words.strip():
        return ""
    address = link if len(link) <= _LINK_MAX else link[: _LINK_MAX - 1] + "…"
    target = link.partition(":")[2].strip("/").lower()
    return "" if target and target in words.lower() else f" <{address}>"


def _is_quotation(attributes: Mapping[str, str]) -> bool:
    """Return whether a block quote is a quotation: it has a mail program's class, a bar at its left, or no attributes.

    With only a style, it is the writer's own text, which an editor indented.
    """
    style = attributes.get("style", "")
    return (
        attributes.get("type", "").lower() == "cite"
        or not _QUOTE_CLASSES.isdisjoint(attributes.get("class", "").lower().split())
        or _BAR_AT_THE_LEFT.search(style) is not None
        or not (style or attributes.get("class"))
    )


def _unescaped(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # a character number with more digits than Python converts
        return text


@dataclass(frozen=True, slots=True)
class _Open:
    """An open element: the look of its words, whether it surely or possibly hides its content, and its link."""

    tag: str
    look: Look
    hides: bool
    perhaps: bool
    unshown: bool
    link: str
    quotes: bool


class _Walker:
    """Writes lines while it reads the elements; each step has bounded work, so the total is linear."""

    def __init__(self, sheet: Sheet) -> None:
        self.hid_words = False
        self._sheet = sheet
        self._lines: list[str] = []
        self._line: list[str] = []
        self._open: list[_Open] = []
        self._counts: dict[str, int] = {}
        self._hiding = 0
        self._perhaps = 0
        self._unshown = 0
        self._quoting = 0
        self._linked: list[str] = []  # the words since the last link was opened

    def open(self, tag: str, attributes: str) -> None:
        """Process a start tag. A slash at its end has no meaning, as in browsers."""
        if self._raw():
            return
        last = self._open[-1].tag if self._open else ""
        if last in _IMPLIED_END and (last == tag or (last == "p" and tag in _BLOCKS)):
            self._pop()
        if tag in _BLOCKS or tag == "br":
            self._break(always=tag == "br")
        elif tag in {"td", "th"} and self._line:
            self._line.append(" ")
        # Reversed text reads differently, and an embedded page is not read here.
        self.hid_words |= tag == "bdo" or (tag == "iframe" and "srcdoc" in attributes.lower())
        if tag == "img":
            self._picture(attributes)
        if tag in _VOID:
            return
        opened = self._opened(tag, attributes)
        self._open.append(opened)
        self._counts[tag] = self._counts.get(tag, 0) + 1
        self._hiding += opened.hides
        self._perhaps += opened.perhaps
        self._unshown += opened.unshown
        self._quoting += opened.quotes
        if opened.link:
            self._linked.clear()
        if tag == "li":
            self._line.append("- ")

    def close(self, tag: str) -> None:
        """Process an end tag, which also closes open inner elements; one without an open element is ignored."""
        if self._raw() not in {"", tag}:
            return
        if self._counts.get(tag):
            while self._pop() != tag:
                pass
        elif tag == "p":
            self._break()

    def write(self, data: str) -> None:
        """Process text."""
        if self._unshown:
            return
        look = self._look
        doubtful = look.faint and self._sheet.colors  # a rule that was not read may set the other colour
        if (self._hiding or self._perhaps or look.unreadable or look.faint) and re.search(r"\w", data):
            self.hid_words = True
        if self._hiding or look.unreadable or (look.faint and not doubtful):
            return
        if self._counts.get("a"):
            self._linked.append(data)
        if not self._counts.get("pre"):
            self._line.append(_SPACES.sub(" ", data))
            return
        first, *rest = data.replace("\r\n", "\n").split("\n")
        self._line.append(first)
        for line in rest:
            self._break(always=True)
            self._line.append(line)

    def text(self) -> str:
        """Return the text so far."""
        self._break()
        return "\n".join(self._lines)

    def _raw(self) -> str:
        """Return the open element whose content is not markup; "" for none."""
        return self._open[-1].tag if self._open and self._open[-1].tag in _RAW else ""

    @property
    def _look(self) -> Look:
        return self._open[-1].look if self._open else _PAGE

    def _picture(self, attributes: str) -> None:
        """Write the alternative text of a picture, if it is a sentence."""
        alt = next((_unescaped(value.strip("\"'")) for name, value in _ATTRIBUTE.findall(attributes) if name.lower() == "alt"), "")
        if len(alt.split()) >= _ALT_WORDS_MIN:
            self.write(f"[{alt}]")

    def _opened(self, tag: str, attributes: str) -> _Open:
        """Apply the attributes and the style sheet to an element."""
        found = {name.lower(): _unescaped(value.strip("\"'")) for name, value in reversed(_ATTRIBUTE.findall(attributes))}
        names = [f".{name}" for name in found.get("class", "").split()[:CLASSES_MAX]] + [
            f"#{name}" for name in found.get("id", "").split()[:1]
        ]
        sure, perhaps = self._sheet.of(tag, names)
        style = (
            {style: found[name].lower() for name, style in _STYLED.items() if name in found} | sure | declarations(found.get("style", ""))
        )
        hides = "hidden" in found or gone(style)
        may = not hides and bool(perhaps) and (gone(style | perhaps) or Look().styled(perhaps).unreadable)
        link = _SPACES.sub("", found.get("href", "")) if tag == "a" else ""
        return _Open(tag, self._look.styled(style), hides, may, tag in _UNSHOWN, link, tag == "blockquote" and _is_quotation(found))

    def _pop(self) -> str:
        if self._open[-1].tag in _BLOCKS:
            self._break()
        closed = self._open.pop()
        self._counts[closed.tag] -= 1
        self._quoting -= closed.quotes
        if closed.tag in _SPACED and self._lines and self._lines[-1].strip("> "):
            self._lines.append(self._mark().rstrip())
        self._hiding -= closed.hides
        self._perhaps -= closed.perhaps
        self._unshown -= closed.unshown
        if closed.link:
            self._line.append(_address_of(closed.link, "".join(self._linked)))
            self._linked.clear()
        return closed.tag

    def _mark(self) -> str:
        return "> " * min(self._quoting, _QUOTE_DEPTH_MAX)

    def _break(self, *, always: bool = False) -> None:
        """End the current line, if there is one or `always` is true."""
        line = "".join(self._line)
        line = line.rstrip() if self._counts.get("pre") else line.strip(" ")
        self._line.clear()
        if line or always:
            self._lines.append(self._mark() + line)
