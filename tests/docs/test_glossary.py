"""The words of the project: each has one meaning, and a retired name comes back nowhere."""

import re
from pathlib import Path

import pytest

from pointsman import Status

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"

# Names that were given up before the first release; CHANGELOG.md has a table of the public ones.
RETIRED = {
    "settled()": r"\.settled\(|def settled\(",
    "patience_seconds": r"\bpatience_seconds\b",
    "Engine.keep": r"\b[Ee]ngine\.keep\b",
    "engine.abandoned": r"\bengine\.abandoned\b",
    "engine.blocked": r"\bengine\.blocked\b",
    "points=, Points": r"\bpoints=|\bPoints\b|\bno_points\b",
    "was=": r"\bwas=|\.was\b",
    "at_once=": r"\bat_once=",
    "Attempt": r"\bAttempt\b",
    "Guard(free=)": r"\bfree=\d",
    "Breaker, cool_seconds": r"\bBreaker\(|\bcool_seconds\b",
    "waiting_max": r"\b(tenant_)?waiting_max\b",
    "settle_seconds": r"\bsettle_seconds\b",
    "NoAnswer": r"\bNoAnswer\b",
    "CheckFailed": r"\bCheckFailed\b",
    "Crashed": r"\bCrashed\b",
    "NotAccepted": r"\bNotAccepted\b",
    "local_time, lasting": r"\blocal_time\b|\blasting\(",
    # Names of the inner engine.
    "Hold": r"\bclass Hold\b|: Hold\b|\bHold\(",
    "Outcome, of a step": r"\bclass Outcome\b|\bOutcome\(",
    "News": r"\bclass News\b|\bexcept News\b|\braise News\b",
    "land": r"\bdef (land|landing|landed)\b|\.land\(",
    "Undoing, Acceptance, Keeping, Waits": r"\bclass (Undoing|Acceptance|Operating|Keeping|Waits|Late|Answers)\b",
}


def written() -> list[Path]:
    pages = [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"))]
    return [*sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "examples").rglob("*.py")), *pages]


TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in written()}


@pytest.mark.parametrize("pattern", RETIRED.values(), ids=RETIRED)
def test_a_retired_name_occurs_nowhere(pattern: str) -> None:
    found = [name for name, text in TEXTS.items() if re.search(pattern, text)]

    assert len(TEXTS) > 100
    assert not found, f"use the new name (CHANGELOG.md, Changed) in {found}"


def test_the_glossary_explains_each_word_once_in_one_sentence() -> None:
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    words = [word for word, _ in rows]

    assert len(words) > 60
    assert sorted(words) == sorted(set(words))
    assert not [word for word, meaning in rows if not meaning.endswith(".") or ". " in meaning]


def test_the_glossary_names_each_status() -> None:
    [row] = re.findall(r"^\| \*\*status\*\* \| (.+) \|$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)

    assert re.findall(r"`(\w+)`", row) == [*Status]
