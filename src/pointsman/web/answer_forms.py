"""A form for any answer: made from the JSON Schema of the answer's type, and read back from what a browser sends.

Each kind of schema has its part. A part draws itself as a field for the templates, and reads its value from a form. What no part knows
is written as JSON. A field's name is its path: `answer.lines[0]` is the first row of the list `lines`; the fields of a variant have its
name in their path (`answer.refund.amount`), as the errors of Pydantic have.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from pointsman.server.forms import Form

Schema = Mapping[str, Any]
NESTED_MAX = 4  # levels of groups; what is deeper is written as JSON
RADIOS_MAX = 5  # choices beside each other; more become a list to open
SHORT_MAX = 120  # characters of a text on one line
_ROW = re.compile(r"^(.+)\[(\d+)\]$")
ROOT = "answer"


class Absent:
    """The type of ABSENT."""


ABSENT: Final = Absent()
"""Nothing was entered, so that the answer leaves the member out."""


@dataclass(frozen=True, slots=True)
class Option:
    """A choice: the text that the form sends, and its label."""

    text: str
    label: str
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """A field as the templates draw it. `kind` names the macro; `text` is what it shows; `inner` are the fields in it."""

    name: str
    kind: str
    label: str
    help: str = ""
    required: bool = False
    text: str = ""
    options: tuple[Option, ...] = ()
    inner: tuple["Field", ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    def walk(self) -> Iterator["Field"]:
        """This field and all fields in it."""
        yield self
        for one in self.inner:
            yield from one.walk()

    def with_errors(self, errors: Mapping[str, str]) -> "Field":
        """Return the field with an error beside each field that `errors` names."""
        return replace(self, error=errors.get(self.name, ""), inner=tuple(one.with_errors(errors) for one in self.inner))


class Problems(dict[str, str]):
    """What is wrong with a form: a sentence for each field."""


@dataclass(frozen=True)
class Part(ABC):
    """A part of an answer. `default` is its value if nothing is entered; without one, a part that is `required` must be filled in."""

    label: str
    help: str = ""
    required: bool = True
    nullable: bool = False
    default: Any = ABSENT

    @abstractmethod
    def draw(self, name: str, form: Form | None) -> Field:
        """Return the field for the templates: with what `form` has, or, without a form, with the default."""

    @abstractmethod
    def read(self, name: str, form: Form, problems: Problems) -> Any:
        """Return the value in the form as JSON has it, or ABSENT. Notes in `problems` what cannot be read."""

    def _field(self, name: str, kind: str, text: str = "", **more: Any) -> Field:
        return Field(name, kind, self.label, self.help, self.required and not self.nullable, text, **more)

    def _nothing(self, name: str, problems: Problems) -> Any:
        if self.nullable:
            return None if self.required or self.default is not ABSENT else ABSENT
        if self.required:
            problems[name] = "Fill this in."
        return ABSENT

    def _none(self, options: tuple["Option", ...]) -> tuple["Option", ...]:
        """The choice of nothing, where nothing may be chosen: a button that was pressed by mistake cannot be released otherwise."""
        may_be_none = self.nullable or (not self.required and self.default is ABSENT)
        return (Option("", "None", not any(option.chosen for option in options)),) if may_be_none else ()

    def _start(self) -> str:
        return "" if self.default is ABSENT or self.default is None else str(self.default)


@dataclass(frozen=True)
class Text(Part):
    """A text. `type` is that of the input; a `long` one has several lines."""

    type: str = "text"
    long: bool = False
    limits: Mapping[str, Any] = field(default_factory=dict)

    def draw(self, name: str, form: Form | None) -> Field:
        """Draw an input or a text area."""
        text = self._start() if form is None else form.get(name, "")
        return self._field(name, "area" if self.long else "input", text, limits={**self.limits, "type": self.type})

    def read(self, name: str, form: Form, problems: Problems) -> Any:
        """Read the text. An empty one means nothing, unless it replaces a default."""
        text = form.get(name, "")
        if text.strip():
            return text
        return "" if isinstance(self.default, str) and not self.nullable else self._nothing(name, problems)


@dataclass(frozen=True)
class Moment(Text):
    """A date with a time of day, in the zone of this machine, which is the one that the pages show."""

    type: str = "datetime-local"

    def draw(self, name: str, form: Form | None) -> Field:
        """Draw an input for a date and a time."""
        drawn = super().draw(name, form)
        return drawn if form is not None or not drawn.text else replace(drawn, text=_without_zone(drawn.text))

    def read(self, name: str, form: Form, problems: Problems) -> Any:
        """Read the time, and add its zone."""
        text = super().read(name, form, problems)
        if not isinstance(text, str) or not text:
            return text
        try:
            return datetime.fromisoformat(text).astimezone().isoformat()
        except ValueError:
            problems[name] = "Write a date and a time, such as 2026-11-28T14:30."
            return ABSENT


def _without_zone(text: str) -> str:
    try:
        return datetime.fromisoformat(text).astimezone().replace(tzinfo=None).isoformat(timespec="minutes")
    except ValueError:
        return text


@dataclass(frozen=True)
class Number(Part):
    """A number; a `whole` one has no fraction. One of a type that keeps every digit is sent as its `digits`."""

    whole: bool = False
    digits: bool = False
    limits: Mapping[str, Any] = field(default_factory=dict)

    def draw(self, name: str, form: Form | None) -> Field:
        """Draw an input for a number."""
        text = self._start() if form is None else form.get(name, "")
        return self._field(name, "input", text, limits={"type": "number", "step": 1 if self.whole else "any", **self.limits})

    def read(self, name: str, form: Form, problems: Problems) -> Any:
        """Read the number."""
        text = form.get(name, "").strip()
        if not text:
            return self._nothing(name, problems)
        if self.whole and re.fullmatch(r"[+-]?\d{1,40}", text):
            return int(text)
        if not self.whole and re.fullmatch(r"[+-]?(\d{1,40}\.?\d{0,40}|\.\d{1,40})(e[+-]?\d{1,3})?", text, re.IGNORECASE | re.ASCII):
            return text if self.digits else float(text)
        problems[name] = "Write a whole number, such as 3." if self.whole else "Write a number, such as 12.50."
        return ABSENT


@dataclass(frozen=True)
class Choice(Part):
    """One of a few values."""

    values: Sequence[Any] = ()
    labels: Sequence[str] = ()

    def draw(self, name: str, form: Form | None) -> Field:
        """Draw buttons beside each other, or a list to open."""
        chosen = form.get(name) if form is not None else None if self.default is ABSENT else _text(self.default)
        options = tuple(Option(_text(value), label, chosen == _text(value)) for value, label in zip(self.values, self.labels, strict=True))
        if len(options) > RADIOS_MAX:
            return self._field(name, "select", options=options)
        return self._field(name, "radios", options=(*options, *self._none(options)))

    def read(self, name: str, form: Form, problems: Problems) -> Any:
        """Read the value that was chosen."""
        text = form.get(name, "")
        for value in self.values:
            if text == _text(value) and name in form:
                return value
        if text:
            problems[name] = "Choose one of these."
            return ABSENT
        return self._nothing(name, problems)


@dataclass(frozen=True)
class Checks(Part):
    """Some of a few values, each once."""

    values: Sequence[Any] = ()
    labels: Sequence[str] = ()

    def draw(self, name: str, form: Form | None) -> Field:
        """Draw a box for each value."""
        default = self.default if isinstance(self.default, list) else []
        chosen = {_text(value) for value in default} if form is None else {*form.all_of(name)}
        options = tuple(Option(_text(value), label, _text(value) in chosen) for value, label in zip(self.values, self.labels, strict=True))
        return self._field(name, "checks", options=options)

    def read(self, name: str, form: Form, problems: Problems) -> Any:
        """Read the values that were checked."""
        del problems
        return [value for value in self.values if _text(value) in form.all_of(name)]


@dataclass(frozen=True)
class Constant(Part):
    """A value that nobody chooses."""

    value: Any = None

    def draw(self, name: str, form: Form | None) -> Field:
        """Draw nothing to enter."""
        del form
        return self._field(name, "constant", _text(self.value))

    def read(self, name: str, form: Form, problems: Problems) -> Any:
        """Return the value."""
        del name, form, problems
        return self.value


@dataclass(frozen=True)
class Group(Part):
    """Members with names."""

    members: Mapping[str, Part] = field(default_factory=dict)

    def draw(self, name: str, form: Form | None) -> Field:
        """Draw the members below each other."""
        members = self.members
        if form is None and isinstance(self.default, Mapping):
            members = {key: replace(part, default=self.default.get(key, part.default)) for key, part in members.items()}
        return self._field(name, "group", inner=tuple(part.draw(f"{name}.{key}", form) for key, part in members.items()))

    def read(self, name: str, form: Form, problems: Problems) -> Any:
        """Read the members. A group that may be left out is left out if nothing in it was filled in."""
        optional = self.nullable or not self.required
        if optional and not any(form[one].strip() for one in form if one.startswith(f"{name}.")):
            return self._nothing(name, problems)
        read = {key: part.read(f"{name}.{key}", form, problems) for key, part in self.members.items()}
        return {key: value for key, value in read.items() if value is not ABSENT}


@dataclass(frozen=True)
class Variants(Part):
    """One of several groups; the member `key` says which."""

    key: str = ""
    variants: Mapping[str, Group] = field(default_factory=dict)

    def draw(self, name: str, form: Form | None) -> Field:
        """Draw a choice, and all groups; the stylesheet hides those that are not chosen."""
        default = self.default.get(self.key) if isinstance(self.default, Mapping) else None
        chosen = form.get(f"{name}.{self.key}") if form is not None else default
        options = tuple(Option(tag, group.label, chosen == tag) for tag, group in self.variants.items())
        inner = tuple(group.draw(f"{name}.{tag}", form) for tag, group in self.variants.items())
        return self._field(name, "variants", f"{name}.{self.key}", options=(*options, *self._none(options)), inner=inner)

    def read(self, name: str, form: Form, problems: Problems) -> Any:
        """Read the group that was chosen."""
        tag = form.get(f"{name}.{self.key}", "")
        if tag not in self.variants:
            return self._nothing(name, problems)
        return {self.key: tag, **self.variants[tag].read(f"{name}.{tag}", form, problems)}


@dataclass(frozen=True)
class Rows(Part):
    """A list of simple values, one in each row. Rows that are left blank do not count."""

    row: Part = field(default_factory=lambda: Text(""))

    def draw(self, name: str, form: Form | None) -> Field:
        """Draw a row for each value, and one more if there is none or if the button for one was pressed."""
        if form is None:
            values = self.default if isinstance(self.default, list) else []
            rows = [replace(self.row, default=value).draw(f"{name}[{index}]", None) for index, value in enumerate(values)]
        else:
            rows = [self.row.draw(f"{name}[{index}]", form) for index in _rows_of(name, form)]
        if not rows or (form is not None and form.get("add") == name):
            rows.append(self.row.draw(f"{name}[{len(rows)}]", form))
        labelled = tuple(replace(row, label=f"{self.label} {number}", required=False) for number, row in enumerate(rows, start=1))
        return self._field(name, "rows", inner=labelled)

    def read(self, name: str, form: Form, problems: Problems) -> Any:
        """Read the rows."""
        rows = [self.row.read(f"{name}[{index}]", form, problems) for index in _rows_of(name, form)]
        found = [row for row in rows if row is not ABSENT]
        return None if not found and self.nullable else found


@dataclass(frozen=True)
class Json(Part):
    """Anything else, written as JSON."""

    def draw(self, name: str, form: Form | None) -> Field:
        """Draw a text area."""
        start = "" if self.default is ABSENT else json.dumps(self.default, ensure_ascii=False, indent=2)
        return self._field(name, "json", start if form is None else form.get(name, ""))

    def read(self, name: str, form: Form, problems: Problems) -> Any:
        """Read the JSON."""
        text = form.get(name, "")
        if not text.strip():
            return self._nothing(name, problems)
        value = read_json(name, text, problems)
        return ABSENT if name in problems else value


def read_json(name: str, text: str, problems: Problems) -> Any:
    """Return the JSON that a person has typed into a field; if it is none, note why in the problems, and return None."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        problems[name] = _json_problem(error)
    except RecursionError:
        problems[name] = "This is nested too deep."
    return None


def _json_problem(error: ValueError) -> str:
    where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
    return f"This is not JSON: {error.msg if isinstance(error, json.JSONDecodeError) else error}{where}."


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _rows_of(name: str, form: Form) -> list[int]:
    found = (_ROW.match(one) for one in form)
    return sorted(int(match[2]) for match in found if match is not None and match[1] == name)


def compact(form: Form) -> Form:
    """Return a form without rows that were left blank; the rows after them move up, so that an error names the row that is shown."""
    rows: dict[str, list[tuple[int, str]]] = {}
    for name in form:
        if (match := _ROW.match(name)) is not None:
            rows.setdefault(match[1], []).append((int(match[2]), name))
    names: dict[str, str | None] = {}
    for prefix, found in rows.items():
        kept = [name for _, name in sorted(found) if form[name].strip()]
        names |= dict.fromkeys((name for _, name in found), None)
        names |= {name: f"{prefix}[{index}]" for index, name in enumerate(kept)}
    return form.renamed(names)
