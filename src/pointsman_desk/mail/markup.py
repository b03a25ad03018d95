"""HTML to the text that a reader of it sees."""

import html
import re
from dataclasses import dataclass

HTML_MAX = 256 * 1024  # characters; a long newsletter has a hundred thousand, and a nested table costs time for each

_BLOCK_NAMES = (
    "address article aside blockquote body center dd div dl dt fieldset figure footer form h1 h2 h3 h4 h5 h6 header hr "
    "html li main nav ol p pre section table tbody tfoot thead tr ul"
)
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"})
_SPACED = frozenset({"p", "table", "ul", "ol", "blockquote"})
_RAW = frozenset({"script", "style"})
_UNSHOWN = _RAW | {"template", "title"}
_IMPLIED_END = frozenset({"p", "li", "td", "th", "tr", "dt", "dd", "option"})
_QUOTE_DEPTH_MAX = 9  # deeper quoting looks the same and would make the text grow with the square of the depth
_HIDING = re.compile(
    r"(?<![\w-])(?:display\s?:\s?none|visibility\s?:\s?(?:hidden|collapse)|mso-hide\s?:\s?all"
    r"|font-size\s?:\s?0(?:\.0{1,9})?\s?(?:px|pt|em|rem|%|vw)?\s?(?:;|!|$))",
    re.IGNORECASE,
)
# A tag with its quotes in order, a tag with its quotes in disorder, a declaration, text, a lone `<`.
_TOKEN = re.compile(
    r"""<(?P<close>/?)(?P<name>[a-z][^\s<>/"'=]{0,40})"""
    r"""(?:(?P<attributes>(?:[^<>"']|"[^"<]{0,4000}"|'[^'<]{0,4000}'){0,9000}+)>|(?P<loose>[^<>]{0,9000}+)>)"""
    r"""|<[!?][^<>]{0,9000}+>|(?P<text>[^<]+|<)""",
    re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"""([^\s"'=/]{1,60})(?:\s?=\s?("[^"]*"|'[^']*'|[^\s"']+))?""")
_SPACES = re.compile(r"[ \t\r\n\f]+")


def text_of(source: str, notes: set[str]) -> str:
    """Return the visible text of an HTML body; quoted blocks have `> ` before each line.

    Comments, script, style and what an inline style or the `hidden` attribute hides are left out (`hidden-text` in
    `notes` when words were hidden; style sheets are not evaluated, so white on white and hiding classes are not seen).
    Only the first `HTML_MAX` characters are read (`html-truncated`). The cutting into tags is our own, because the
    standard library's parser takes 38 s for 240 kB of `<!--` (Python 3.11): here no start looks past the next `<`.
    """
    if len(source) > HTML_MAX:
        source = source[:HTML_MAX]
        notes.add("html-truncated")
    walker = _Walker()
    for token in _TOKEN.finditer(_without_comments(source)):
        if token["name"] is None:
            walker.write(_unescaped(token["text"] or ""))
        elif token["close"]:
            walker.close(token["name"].lower())
        else:
            walker.open(token["name"].lower(), token["attributes"] or token["loose"] or "")
    if walker.hid_words:
        notes.add("hidden-text")
    return walker.text()


def _without_comments(source: str) -> str:
    """Leave out comments; one that is never closed stays, so that no words are lost."""
    shown, *rest = source.split("<!--")
    out, unclosed = [shown], []
    for piece in rest:
        unclosed.append(piece)
        _, end, after = piece.partition("-->")
        if end:
            unclosed.clear()
            out.append(after)
    return "".join(out + unclosed)


def _unescaped(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # a character number of more digits than Python converts
        return text


@dataclass(frozen=True, slots=True)
class _Open:
    """An open element, and whether it hides what is in it."""

    tag: str
    hides: bool
    unshown: bool


class _Walker:
    """Writes lines while the elements go by; each step's work is bounded, so the whole is linear."""

    def __init__(self) -> None:
        self.hid_words = False
        self._lines: list[str] = []
        self._line: list[str] = []
        self._open: list[_Open] = []
        self._counts: dict[str, int] = {}
        self._hiding = 0
        self._unshown = 0

    def open(self, tag: str, attributes: str) -> None:
        """Take a start tag. A slash at its end means nothing, as in browsers."""
        if self._raw():
            return
        last = self._open[-1].tag if self._open else ""
        if last in _IMPLIED_END and (last == tag or (last == "p" and tag in _BLOCKS)):
            self._pop()
        if tag in _BLOCKS or tag == "br":
            self._break(always=tag == "br")
        elif tag in {"td", "th"} and self._line:
            self._line.append(" ")
        if tag in _VOID:
            return
        opened = _Open(tag, _hides(attributes), tag in _UNSHOWN)
        self._open.append(opened)
        self._counts[tag] = self._counts.get(tag, 0) + 1
        self._hiding += opened.hides
        self._unshown += opened.unshown
        if tag == "li":
            self._line.append("- ")

    def close(self, tag: str) -> None:
        """Take an end tag, which also closes what is open inside its element; one without an element is passed over."""
        if self._raw() not in {"", tag}:
            return
        if self._counts.get(tag):
            while self._pop() != tag:
                pass
        elif tag == "p":
            self._break()

    def write(self, data: str) -> None:
        """Take a run of text."""
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

    def _raw(self) -> str:
        """Return the open element whose content is no markup, "" for none."""
        return self._open[-1].tag if self._open and self._open[-1].tag in _RAW else ""

    def _pop(self) -> str:
        if self._open[-1].tag in _BLOCKS:
            self._break()
        closed = self._open.pop()
        self._counts[closed.tag] -= 1
        if closed.tag in _SPACED and self._lines and self._lines[-1].strip("> "):
            self._lines.append(self._mark().rstrip())
        self._hiding -= closed.hides
        self._unshown -= closed.unshown
        return closed.tag

    def _mark(self) -> str:
        return "> " * min(self._counts.get("blockquote", 0), _QUOTE_DEPTH_MAX)

    def _break(self, *, always: bool = False) -> None:
        """End the line when there is one, or `always`."""
        line = "".join(self._line)
        line = line.rstrip() if self._counts.get("pre") else line.strip(" ")
        self._line.clear()
        if line or always:
            self._lines.append(self._mark() + line)


def _hides(attributes: str) -> bool:
    return any(
        name.lower() == "hidden" or (name.lower() == "style" and _HIDING.search(_SPACES.sub(" ", _unescaped(value.strip("\"'")))))
        for name, value in _ATTRIBUTE.findall(attributes)
    )
