"""HTML to the text that a reader of it sees."""

import html
import re
from dataclasses import dataclass
from html.parser import HTMLParser

HTML_MAX = 256 * 1024  # characters; a long newsletter has a hundred thousand, and a nested table costs time for each

_BLOCK_NAMES = (
    "address article aside blockquote body center dd div dl dt fieldset figure footer form h1 h2 h3 h4 h5 h6 header hr "
    "html li main nav ol p pre section table tbody tfoot thead tr ul"
)
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"})
_UNSHOWN = frozenset({"script", "style", "template", "title"})
_IMPLIED_END = frozenset({"p", "li", "td", "th", "tr", "dt", "dd", "option"})
_QUOTE_DEPTH_MAX = 9  # deeper quoting looks the same and would make the text grow with the square of the depth
_HIDING = re.compile(
    r"(?<![\w-])(?:display\s?:\s?none|visibility\s?:\s?(?:hidden|collapse)|mso-hide\s?:\s?all"
    r"|font-size\s?:\s?0(?:\.0{1,9})?\s?(?:px|pt|em|rem|%|vw)?\s?(?:;|!|$))",
    re.IGNORECASE,
)
_SPACES = re.compile(r"[ \t\r\n\f]+")


def text_of(source: str, notes: set[str]) -> str:
    """Return the visible text of an HTML body; quoted blocks have `> ` before each line.

    Script, style and what an inline style or the `hidden` attribute hides are left out (`hidden-text` in `notes` when
    words were hidden; style sheets are not evaluated, so white on white and hiding classes are not seen). Only the
    first `HTML_MAX` characters are read (`html-truncated`). Where the parser gives up, the tags are cut out plainly
    (`bad-html`).
    """
    if len(source) > HTML_MAX:
        source = source[:HTML_MAX]
        notes.add("html-truncated")
    # A marked section is no HTML, and the standard parser raises on it; as a comment it is skipped.
    source = source.replace("<![", "<!x")
    walker = _Walker()
    try:
        walker.feed(source)
        walker.close()
    except (AssertionError, ValueError, RecursionError):
        notes.add("bad-html")
        return html.unescape(re.sub(r"<[^<>]*>", " ", source))
    if walker.hid_words:
        notes.add("hidden-text")
    return walker.text()


@dataclass(frozen=True, slots=True)
class _Open:
    """An open element, and whether it hides what is in it."""

    tag: str
    hides: bool
    unshown: bool


class _Walker(HTMLParser):
    """Writes lines while the elements go by; each step's work is bounded, so the whole is linear."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.hid_words = False
        self._lines: list[str] = []
        self._line: list[str] = []
        self._open: list[_Open] = []
        self._counts: dict[str, int] = {}
        self._hiding = 0
        self._unshown = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        last = self._open[-1].tag if self._open else ""
        if last in _IMPLIED_END and (last == tag or (last == "p" and tag in _BLOCKS)):
            self._pop()
        if tag in _BLOCKS or tag == "br":
            self._break(always=tag == "br")
        elif tag in {"td", "th"} and self._line:
            self._line.append(" ")
        if tag in _VOID:
            return
        opened = _Open(tag, _hides(attrs), tag in _UNSHOWN)
        self._open.append(opened)
        self._counts[tag] = self._counts.get(tag, 0) + 1
        self._hiding += opened.hides
        self._unshown += opened.unshown
        if tag == "li":
            self._line.append("- ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # browsers ignore the slash, so the element stays open unless it is void

    def handle_endtag(self, tag: str) -> None:
        if self._counts.get(tag):
            while self._pop() != tag:
                pass
        elif tag == "p":
            self._break()

    def handle_data(self, data: str) -> None:
        if self._unshown:
            return
        if self._hiding:
            self.hid_words = self.hid_words or bool(re.search(r"\w", data))
            return
        if not self._counts.get("pre"):
            self._line.append(_SPACES.sub(" ", data))
            return
        first, *rest = data.replace("\r\n", "\n").split("\n")
        self._line.append(first)
        for line in rest:
            self._break(always=True)
            self._line.append(line)

    def text(self) -> str:
        """Return what was written so far."""
        self._break()
        return "\n".join(self._lines)

    def _pop(self) -> str:
        closed = self._open[-1]
        if closed.tag in _BLOCKS:
            self._break(blank=closed.tag in {"p", "table", "ul", "ol", "blockquote"})
        self._open.pop()
        self._counts[closed.tag] -= 1
        self._hiding -= closed.hides
        self._unshown -= closed.unshown
        return closed.tag

    def _break(self, *, always: bool = False, blank: bool = False) -> None:
        """End the line when there is one, or `always`; leave a `blank` one after it where none is yet."""
        mark = "> " * min(self._counts.get("blockquote", 0), _QUOTE_DEPTH_MAX)
        line = "".join(self._line)
        line = line.rstrip() if self._counts.get("pre") else line.strip(" ")
        self._line.clear()
        if line or always:
            self._lines.append(mark + line)
        if blank and self._lines and self._lines[-1].strip("> "):
            self._lines.append(mark.rstrip())


def _hides(attrs: list[tuple[str, str | None]]) -> bool:
    return any(
        name == "hidden" or (name == "style" and _HIDING.search(_SPACES.sub(" ", value or "")) is not None)
        for name, value in attrs
    )
