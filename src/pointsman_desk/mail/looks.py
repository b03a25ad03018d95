"""Decide from the styles of an HTML mail whether a person sees its words. Not a browser: only styles that hide or reveal text."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

SHEETS_MAX = 20  # a mail has one or two
SHEET_MAX = 128 * 1024  # characters of all of them
RULES_MAX = 2_000
CLASSES_MAX = 20  # of one element

_TINY_PIXELS = 2.0  # unreadable; mails that hide a preview line use 1px
_FAR_PIXELS = -500.0  # beyond the left or upper edge of any screen, with the element's own width
_FAINT_STEPS = 24  # of 255, in the most different of the three colours: #eeeeee on white is 17, the lightest grey in use is 51
_SEEN_THROUGH = 0.05  # opacity at which text is invisible

_PIXELS = {
    "": 1.0,
    "px": 1.0,
    "pt": 1.33,
    "em": 16.0,
    "rem": 16.0,
    "ex": 8.0,
    "ch": 8.0,
    "in": 96.0,
    "cm": 38.0,
    "mm": 3.8,
    "%": 5.0,
    "vw": 5.0,
    "vh": 5.0,
}
_LENGTH = re.compile(r"([+-]?(?:\d{1,7}(?:\.\d{0,7})?|\.\d{1,7}))([a-z%]{0,4})")
_SHORTHAND_SIZE = re.compile(r"(?<![\w.#-])(0|\d{0,4}\.?\d{1,4}(?:px|pt|r?em|%))(?=[ /]|$)")
_ESCAPE = re.compile(r"\\(?:([0-9a-f]{1,6})\s?|(.))", re.IGNORECASE | re.DOTALL)
_HEX = re.compile(r"#([0-9a-f]{3,8})$")
_FUNCTION = re.compile(r"rgba?\(([^()]{1,60})\)$")
_COMPOUND = re.compile(r"([a-z][a-z0-9]*)?([.#][\w-]{1,80})$", re.IGNORECASE)
_LAST_NAME = re.compile(r"([.#][\w-]{1,80})[^.#]*$")

Color = tuple[int, int, int]
_NAMED: Mapping[str, Color] = {"white": (255, 255, 255), "black": (0, 0, 0)} | dict.fromkeys(
    ["snow", "ivory", "ghostwhite", "floralwhite", "whitesmoke", "mintcream", "azure", "aliceblue", "seashell"], (250, 250, 250)
)
_CLEAR = "transparent"
_SIDES = ("left", "top", "right", "bottom")
_PROPERTIES = frozenset({
    *_SIDES, "background", "background-color", "background-image", "clip", "clip-path", "color", "content-visibility", "display", "filter",
    "font", "font-size", "height", "margin-left", "margin-top", "max-height", "max-width", "mso-hide", "opacity", "overflow", "overflow-x",
    "overflow-y", "position", "text-indent", "transform", "visibility", "width",
})  # fmt: skip
_FILTERED = re.compile(r"opacity\(\s?0(?:\.0{1,9})?%?\s?\)")


@dataclass(frozen=True, slots=True)
class Look:
    """The look of an element's words. Inner elements inherit it.

    `color` and `background` are None if they are unknown.
    """

    tiny: bool = False
    unseen: bool = False
    clear: bool = False
    color: Color | None = (0, 0, 0)
    background: Color | None = (255, 255, 255)

    @property
    def faint(self) -> bool:
        """Whether the words have the colour of their background, or no colour."""
        if self.clear:
            return True
        if self.color is None or self.background is None:
            return False
        return max(abs(one - other) for one, other in zip(self.color, self.background, strict=True)) <= _FAINT_STEPS

    @property
    def unreadable(self) -> bool:
        """Whether the words are invisible in any colour."""
        return self.tiny or self.unseen

    def styled(self, style: Mapping[str, str]) -> "Look":
        """Return the look with `style` applied."""
        look = (
            replace(self, unseen=style["visibility"] != "visible") if style.get("visibility") in {"hidden", "collapse", "visible"} else self
        )
        size = style.get("font-size") or next(iter(_SHORTHAND_SIZE.findall(style.get("font", ""))), None)
        tiny = _tiny(size) if size else None
        look = look if tiny is None else replace(look, tiny=tiny)
        if "color" in style and style["color"] not in {"inherit", "currentcolor"}:
            color = _color(style["color"])
            look = replace(look, clear=color == _CLEAR, color=color if isinstance(color, tuple) else None)
        for name in ("background", "background-color", "background-image"):
            if name in style:
                look = replace(look, background=_background(style[name], look.background))
        return look


@dataclass(slots=True)
class Sheet:
    """The rules of a mail's style sheets: those that surely apply to a class or an id, and those that may."""

    sure: dict[str, dict[str, str]] = field(default_factory=dict)
    perhaps: dict[str, dict[str, str]] = field(default_factory=dict)
    colors: bool = False

    def of(self, tag: str, names: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the sure and the possible style of an element; `names` are its classes and its id, as in `.note`."""
        keys = [key for name in names for key in (name, tag + name)]
        sure, perhaps = ({name: value for key in keys for name, value in rules.get(key, {}).items()} for rules in (self.sure, self.perhaps))
        return sure, perhaps


def read_sheets(source: str) -> Sheet:
    """Read the style sheets of an HTML text.

    A rule in an at-rule such as @media, in a comment, or for more than one class or id may apply or not.
    """
    sheet, left = Sheet(), SHEET_MAX
    for text, commented in _sheets(source):
        within, selector = 0, None  # the number of open at-rules; the selector of the next style
        pieces = re.split(r"([{}])", without_comments(text[:left], "/*", "*/") + "}")
        for piece, brace in zip(pieces[::2], pieces[1::2], strict=False):
            before = piece.rpartition(";")[2].replace("<!--", " ").replace("-->", " ").strip()
            if brace == "{" and before.startswith("@"):
                within += 1
            elif brace == "{":
                selector = before
            elif selector is not None:
                _add(sheet, selector, declarations(piece), sure=not within and not commented)
                selector = None
            else:
                within = max(0, within - 1)
        left = max(0, left - len(text))
    return sheet


def _sheets(source: str) -> Iterator[tuple[str, bool]]:
    """Yield the text of each style element, and whether it is in a comment, as sheets for a single mail program are."""
    lower, end = source.lower(), 0
    for _ in range(SHEETS_MAX):
        start = lower.find("<style", end)
        begin = lower.find(">", start)
        end = lower.find("</style", begin)
        if min(start, begin, end) < 0:
            return
        yield source[begin + 1 : end], lower.rfind("<!--", 0, start) > lower.rfind("-->", 0, start)


def _add(sheet: Sheet, selectors: str, style: dict[str, str], *, sure: bool) -> None:
    if not style or len(sheet.sure) + len(sheet.perhaps) > RULES_MAX:
        return
    sheet.colors = sheet.colors or any("color" in name or name == "background" for name in style)
    for selector in (one.strip() for one in selectors[:4_000].split(",")):
        alone = _COMPOUND.fullmatch(selector)
        last = alone or _LAST_NAME.search(selector)
        if alone:
            key = (alone[1] or "").lower() + alone[2]
        elif last:
            key = last[1]
        else:
            continue  # rules for element names: one that hides all of them would hide the mail
        rules = sheet.sure if alone and sure else sheet.perhaps
        rules.setdefault(key, {}).update(style)


def declarations(style: str) -> dict[str, str]:
    """Parse the relevant properties of `name: value; ...` as CSS does; the last value counts, but an important one first."""
    if "\\" in style:
        style = _ESCAPE.sub(_unescaped, style)
    pairs = (part.lower().partition(":") for part in without_comments(style, "/*", "*/").split(";"))
    relevant = [(name.strip(), value) for name, _, value in pairs if name.strip() in _PROPERTIES]
    relevant.sort(key=lambda pair: "!important" in pair[1])
    return {name: value.replace("!important", "").strip() for name, value in relevant}


def _unescaped(found: re.Match[str]) -> str:
    if found[1] is None:
        return found[2]
    number = int(found[1], 16)
    return chr(number) if 0 < number < 0xD800 else ""


def without_comments(source: str, begin: str, end: str) -> str:
    """Remove the text between `begin` and `end`; an unclosed comment stays, so that no words are lost."""
    shown, *rest = source.split(begin)
    out, unclosed = [shown], []
    for piece in rest:
        unclosed.append(piece)
        _, closed, after = piece.partition(end)
        if closed:
            unclosed.clear()
            out.append(after)
    return "".join(out + unclosed)


def gone(style: Mapping[str, str]) -> bool:
    """Return whether a style hides an element with everything in it, whatever the inner styles are."""
    if style.get("display") == "none" or style.get("mso-hide") == "all" or style.get("content-visibility") == "hidden":
        return True
    share, unit = _length(style.get("opacity")) or (1.0, "")
    if share / (100 if unit == "%" else 1) <= _SEEN_THROUGH or _FILTERED.search(style.get("filter", "")):
        return True
    empty = any(
        (_pixels(style.get(name)) or 1.0) <= 0 or _is_zero(style.get(name)) for name in ("height", "max-height", "width", "max-width")
    )
    if empty and any("hidden" in style.get(name, "") or "clip" in style.get(name, "") for name in ("overflow", "overflow-x", "overflow-y")):
        return True
    moved = [style.get("text-indent"), style.get("margin-left"), style.get("margin-top")]
    moved += [style.get(side) for side in _SIDES] if style.get("position", "static") != "static" else []
    if any((_pixels(value) or 0.0) <= _FAR_PIXELS for value in moved):
        return True
    return _clipped(style)


def _clipped(style: Mapping[str, str]) -> bool:
    clip, path = style.get("clip", ""), style.get("clip-path", "")
    transform = style.get("transform", "").replace(" ", "")
    rectangle = clip.startswith("rect(") and all(float(number) <= 1 for number, _ in _LENGTH.findall(clip))
    covered = bool(re.match(r"inset\(\s*(?:[5-9]\d|100)%|(?:circle|ellipse)\(\s*0", path))
    return rectangle or covered or bool(re.search(r"scale(?:3d|x|y)?\(0(?:\.0*)?[,)]|translate(?:x|y)?\(-\d{3,}", transform))


def _tiny(size: str) -> bool | None:
    """Return whether words of this size are unreadable; None for a relative size."""
    found = _length(size)
    if found is None:
        return False  # a word, such as "small"
    number, unit = found
    if unit in {"em", "%"}:
        return True if number <= {"em": 0.1, "%": 10.0}[unit] else None
    return number * _PIXELS.get(unit, 1.0) <= _TINY_PIXELS


def _length(value: str | None) -> tuple[float, str] | None:
    found = _LENGTH.match(value or "")
    return (float(found[1]), found[2]) if found else None


def _pixels(value: str | None) -> float | None:
    found = _length(value)
    return found[0] * _PIXELS.get(found[1], 1.0) if found else None


def _is_zero(value: str | None) -> bool:
    found = _length(value)
    return found is not None and found[0] == 0


def _background(value: str, behind: Color | None) -> Color | None:
    if "url(" in value or "gradient" in value or "var(" in value:
        return None
    words = re.sub(r"\s*([(),/])\s*", r"\1", value).split()
    colors = [color for word in words if (color := _color(word)) is not None]
    if colors:
        return colors[0] if isinstance(colors[0], tuple) else behind
    return behind if not words or words[0] in {"none", "inherit", "initial", "unset"} else None


def _color(value: str) -> Color | str | None:
    """Parse a colour; "transparent" for a transparent one, None for an unknown one."""
    value = re.sub(r"\s*([(),/])\s*", r"\1", value.strip())
    if value == _CLEAR:
        return _CLEAR
    if found := _HEX.match(value):
        digits = found[1] if len(found[1]) > 4 else "".join(digit * 2 for digit in found[1])
        if len(digits) == 8 and int(digits[6:], 16) <= 255 * _SEEN_THROUGH:
            return _CLEAR
        return (int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)) if len(digits) in {6, 8} else None
    if found := _FUNCTION.match(value):
        parts = [part for part in re.split(r"[\s,/]", found[1]) if part]
        numbers = [
            number[0] * (2.55 if number[1] == "%" and place < 3 else 1) for place, part in enumerate(parts) if (number := _length(part))
        ]
        if len(numbers) == 4 and numbers[3] / (100 if parts[3].endswith("%") else 1) <= _SEEN_THROUGH:
            return _CLEAR
        return (int(numbers[0]), int(numbers[1]), int(numbers[2])) if len(numbers) in {3, 4} else None
    return _NAMED.get(value)
