"""Labelled mails of others: CSV, JSON or a JSON object a line, and a file that says what their labels mean here."""

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
FIELD_MAX_BYTES = 2**26  # a mail of 64 MB is none; the reader's own limit of 128 kB is below a long thread
NAMED_MAX = 100  # labels that an error lists: more would hide its beginning
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
    """The mails of `file`: the columns `text`, `label` and, where it is named, `subject`.

    `meanings` says which intent a label stands for, None for one that is left out; without it the labels are the desk's
    own. Raises EvaluationInvalid, for labels without a meaning once for all of them.
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
        raise EvaluationInvalid(f"{file} holds no mail with a label that counts; name another file, or skip fewer labels.")
    return found


def read_meanings(file: Path) -> dict[str, Intent | None]:
    """What the labels of others mean here: TOML, JSON or CSV of `their label = our intent`.

    "skip" or "" leaves a label out (None), and `"*"` stands for all others. Case and outer spaces of labels do not count.
    Raises EvaluationInvalid with every entry that is no intent.
    """
    content = _content(file)
    entries = dict(_entries(file, content))
    wrong = [f"{theirs!r} = {ours!r}" for theirs, ours in entries.items() if ours not in {*SKIP, *Intent}]
    if wrong:
        raise EvaluationInvalid(
            f"{file} maps to what is no intent of the desk: {', '.join(wrong)}; write one of {', '.join(Intent)}, or skip."
        )
    if not entries:
        raise EvaluationInvalid(f'{file} maps nothing; write lines such as "their label" = "refund".')
    return {_key(theirs): None if ours in SKIP else Intent(ours) for theirs, ours in entries.items()}


def _key(label: str) -> str:
    return label.strip().casefold()


def _unmapped(file: Path, labels: Sequence[str]) -> str:
    listed = ", ".join(json.dumps(label, ensure_ascii=False) for label in sorted(labels)[:NAMED_MAX])
    more = f" and {len(labels) - NAMED_MAX} more" if len(labels) > NAMED_MAX else ""
    return (
        f"{file} has labels without an intent: {listed}{more}; give a file with --map that says what each means, in lines such as "
        f'{json.dumps(min(labels), ensure_ascii=False)} = "refund" (or "skip"; "*" stands for all others).'
    )


def _content(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise EvaluationInvalid(f"{file} cannot be read ({error.strerror}); give the path of a file that can.") from None
    try:
        return raw.decode("utf-16" if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig")
    except UnicodeDecodeError:
        raise EvaluationInvalid(f"{file} is not UTF-8 text; save it as UTF-8.") from None


def _rows(file: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    content = _content(file)
    start = content.lstrip()[:1]
    if not start:
        raise EvaluationInvalid(f"{file} is empty; name a file with labelled mails.")
    if file.suffix.lower() in _CSV or start not in {"[", "{"}:
        yield from _csv_rows(file, content, columns)
        return
    for number, row in enumerate(_json_rows(file, content, as_list=start == "["), start=1):
        if not isinstance(row, dict):
            raise EvaluationInvalid(f"{file}: row {number} is no object with columns; write one such as {{{columns[0]!r}: ...}}.")
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
            raise EvaluationInvalid(
                f"{file}, {place}: this is not JSON ({error.msg}); write one list, or one whole object on each line."
            ) from None
        yield from value if as_list else [value]


def _csv_rows(file: Path, content: str, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Give the rows below the header; the delimiter is the one with which the header holds the columns."""
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
                f"{file}: row {number} has {len(values)} values and the header {len(header)}; put quotes around a text that holds {delimiter!r}."
            )
        yield dict(zip(header, values, strict=False))


def _csv(file: Path, content: str, delimiter: str, *, strict: bool = True) -> Iterator[list[str]]:
    """Give each line that is not empty. `strict`, because a quote that is never closed would make one mail of all that follow."""
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
        raise EvaluationInvalid(f'{file} is no map ({error}); write TOML lines such as "their label" = "refund".') from None
    if not isinstance(written, dict):
        raise EvaluationInvalid(f"{file} is no map; write an object of their label and our intent.")
    yield from ((theirs, ours if isinstance(ours, str) else json.dumps(ours, default=str)) for theirs, ours in written.items())


def _delimiter_of(content: str) -> str:
    first = content.lstrip().partition("\n")[0]
    return max(_DELIMITERS, key=first.count)
