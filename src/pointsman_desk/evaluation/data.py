"""Labelled mails from a file (CSV, JSON or JSON Lines), and a file that maps their labels to intents."""

import csv
import io
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pointsman_desk.case import Intent
from pointsman_desk.errors import EvaluationInvalid
from pointsman_desk.evaluation.labelled import Labelled, mail_of

SKIP = frozenset({"", "skip"})
REST = "*"
FIELD_MAX_BYTES = 2**26  # no mail has 64 MB; the csv module's limit of 128 kB is too small for a long thread
NAMED_MAX = 100  # labels in an error message: more would hide its beginning
_DELIMITERS = ",;\t|"
_CSV = frozenset({".csv", ".tsv"})


def read_labelled(
    file: Path,
    *,
    text: str,
    label: str,
    subject: str | None = None,
    meanings: Mapping[str, Intent | None] | None = None,
) -> list[Labelled]:
    """Read the mails of `file` from the columns `text`, `label` and, if given, `subject`.

    `meanings` maps labels to intents, or to None for labels to skip; without it, labels must be the desk's intents. Raises
    EvaluationInvalid, which lists all unknown labels at once.
    """
    columns = [text, label, *([subject] if subject is not None else [])]
    known = dict(meanings) if meanings is not None else {intent.value: intent for intent in Intent}
    found: list[Labelled] = []
    unmapped: dict[str, None] = {}
    for number, row in enumerate(_rows(file, columns), start=1):
        named = row[label].strip()
        if _key(named) not in known and REST not in known:
            unmapped.setdefault(named)
            continue
        intent = known[_key(named)] if _key(named) in known else known[REST]
        if intent is not None:
            found.append(Labelled(id=str(number), mail=mail_of(str(number), row[text], row[subject] if subject else ""), label=intent))
    if unmapped:
        raise EvaluationInvalid(_unmapped(file, list(unmapped)))
    if not found:
        raise EvaluationInvalid(f"{file} has no mail with a usable label; use another file or skip fewer labels.")
    return found


def read_meanings(file: Path) -> dict[str, Intent | None]:
    """Read a map from labels to intents: TOML, JSON or CSV of `their label = our intent`.

    "skip" or "" skips a label (None), and `"*"` stands for all other labels. Case and outer spaces of labels do not count. Raises
    EvaluationInvalid with every entry that is not an intent.
    """
    content = _content(file)
    entries = dict(_entries(file, content))
    wrong = [f"{theirs!r} = {ours!r}" for theirs, ours in entries.items() if ours not in {*SKIP, *Intent}]
    if wrong:
        raise EvaluationInvalid(f"{file} has unknown intents: {', '.join(wrong)}; use one of {', '.join(Intent)}, or skip.")
    if not entries:
        raise EvaluationInvalid(f'{file} is empty; write lines such as "their label" = "refund".')
    return {_key(theirs): None if ours in SKIP else Intent(ours) for theirs, ours in entries.items()}


def _key(label: str) -> str:
    return label.strip().casefold()


def _unmapped(file: Path, labels: Sequence[str]) -> str:
    listed = ", ".join(json.dumps(label, ensure_ascii=False) for label in sorted(labels)[:NAMED_MAX])
    more = f" and {len(labels) - NAMED_MAX} more" if len(labels) > NAMED_MAX else ""
    return (
        f"{file} has labels without an intent: {listed}{more}; map them in a file for --map, with lines such as "
        f'{json.dumps(min(labels), ensure_ascii=False)} = "refund" (or "skip"; "*" stands for all other labels).'
    )


def _content(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise EvaluationInvalid(f"{file} cannot be read ({error.strerror}); check the path and its permissions.") from None
    try:
        return raw.decode("utf-16" if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig")
    except UnicodeDecodeError:
        raise EvaluationInvalid(f"{file} is not UTF-8 text; save it as UTF-8.") from None


def _rows(file: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    content = _content(file)
    start = content.lstrip()[:1]
    if not start:
        raise EvaluationInvalid(f"{file} is empty; use a file with labelled mails.")
    if file.suffix.lower() in _CSV or start not in {"[", "{"}:
        yield from _csv_rows(file, content, columns)
        return
    for number, row in enumerate(_json_rows(file, content, as_list=start == "["), start=1):
        if not isinstance(row, dict):
            raise EvaluationInvalid(f"{file}: row {number} is not an object with columns; write one such as {{{columns[0]!r}: ...}}.")
        missing = [name for name in columns if not isinstance(row.get(name), str | int)]
        if missing:
            raise EvaluationInvalid(f"{file}: row {number} has no text in {missing[0]!r}; its columns are {', '.join(row)}.")
        yield {name: str(row[name]) for name in columns}


def _json_rows(file: Path, content: str, *, as_list: bool) -> Iterator[Any]:
    pieces = [(1, content)] if as_list else [(number, line) for number, line in enumerate(content.split("\n"), start=1) if line.strip()]
    for number, piece in pieces:
        try:
            value = json.loads(piece)
        except json.JSONDecodeError as error:
            place = f"line {error.lineno if as_list else number}"
            raise EvaluationInvalid(f"{file}, {place}: this is not JSON ({error.msg}); write one list, or one object per line.") from None
        yield from value if as_list else [value]


def _csv_rows(file: Path, content: str, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the rows below the header; the delimiter is the one that splits the header into the columns."""
    headers = {mark: [name.strip() for name in next(_csv(file, content, mark, strict=False), [])] for mark in _DELIMITERS}
    delimiter = max(headers, key=lambda mark: (set(columns) <= set(headers[mark]), len(headers[mark])))
    header = headers[delimiter]
    missing = [name for name in columns if name not in header]
    if missing:
        raise EvaluationInvalid(f"{file} has no column {missing[0]!r}; its columns are {', '.join(header)}.")
    lines = _csv(file, content, delimiter)
    next(lines)
    for number, values in enumerate(lines, start=1):
        if len(values) < len(header) or any(values[len(header) :]):
            raise EvaluationInvalid(
                f"{file}: row {number} has {len(values)} values, but the header has {len(header)}; quote texts that contain {delimiter!r}."
            )
        yield dict(zip(header, values, strict=False))


def _csv(file: Path, content: str, delimiter: str, *, strict: bool = True) -> Iterator[list[str]]:
    """Yield each line that is not empty. `strict`, because an unclosed quote would swallow all following mails."""
    csv.field_size_limit(FIELD_MAX_BYTES)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=strict)
    try:
        yield from (values for values in reader if values)
    except csv.Error as error:
        raise EvaluationInvalid(
            f"{file}, line {reader.line_num}: this is not CSV ({error}); double each quote within a quoted text."
        ) from None


def _entries(file: Path, content: str) -> Iterator[tuple[str, str]]:
    suffix = file.suffix.lower()
    if suffix in _CSV:
        lines = [[value.strip() for value in values] for values in _csv(file, content, _delimiter_of(content))]
        wrong = next((values for values in lines if len(values) < 2), None)
        if wrong is not None:
            raise EvaluationInvalid(f"{file}: {wrong[0]!r} has no second column; write lines such as their label,refund.")
        headed = lines[:1] and lines[0][1] not in {*SKIP, *Intent}
        yield from ((values[0], values[1]) for values in lines[bool(headed) :])
        return
    try:
        written = json.loads(content) if suffix == ".json" or content.lstrip()[:1] == "{" else tomllib.loads(content)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise EvaluationInvalid(f'{file} is not a map of labels ({error}); write TOML lines such as "their label" = "refund".') from None
    if not isinstance(written, dict):
        raise EvaluationInvalid(f"{file} is not a map of labels; write an object with labels as keys and intents as values.")
    yield from ((theirs, ours if isinstance(ours, str) else json.dumps(ours, default=str)) for theirs, ours in written.items())


def _delimiter_of(content: str) -> str:
    first = content.lstrip().partition("\n")[0]
    return max(_DELIMITERS, key=first.count)
