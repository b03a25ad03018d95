"""Versions, earlier names and the fingerprint of a definition."""

import os
import subprocess
import sys
from typing import Any

import pytest
from pydantic import Field

from pointsman import Context, DefinitionError, Idempotent, Item, Process, Retry, State, each, finish, otherwise, parallel, when
from pointsman.definition.process import AnyProcess

LIMIT = 100


class Case(State):
    message: str
    lines: list[str] = Field(default_factory=list)
    draft: str | None = None
    checks: list[str] | None = None
    answer: str | None = None
    receipt: str | None = None

    @property
    def long(self) -> bool:
        return len(self.message) > LIMIT


class CaseWithMore(Case):
    more: str = ""


class CaseWithAnotherProperty(Case):
    @property
    def long(self) -> bool:
        return len(self.message) >= LIMIT


@pytest.mark.parametrize(
    ("version", "accepts", "told"),
    [
        (0, {}, "version=0 is not a version; use 1, 2, 3"),
        (True, {}, "version=True is not a version"),
        (2, {2: None}, "accepts names version 2, which is not older than version 2; remove it"),
        (2, {0: None}, "accepts names version 0, which is not older than version 2"),
        (3, {1: None}, "accepts has 1 but not 2, so its cases cannot reach version 3; add 2: to accepts"),
        (2, {1: "migrate"}, "accepts[1] is 'migrate'; give a function of the stored fields, or None"),
    ],
)
def test_versions_that_cannot_work_are_refused(version: Any, accepts: Any, told: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        Process("p", Case, version=version, accepts=accepts)

    assert told in str(refused.value)


def test_a_process_accepts_its_own_version_and_those_it_can_migrate() -> None:
    process = Process("p", Case, version=4, accepts={3: None, 2: dict})

    assert [version for version in range(6) if process.accepts_version(version)] == [2, 3, 4]


async def write(message: str) -> str:
    return message


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({"name": "write"}, {"name": "draft", "former_names": "write"}, "'draft' was called 'write', but a step has that name now"),
        (
            {"name": "write", "former_names": "draft"},
            {"name": "draft"},
            "'draft' is an earlier name of 'write'; give the new step another name=",
        ),
        (
            {"name": "a", "former_names": "old"},
            {"name": "b", "former_names": ("older", "old")},
            "'a' and 'b' were both called 'old'; remove it",
        ),
        ({"name": "a", "former_names": "a"}, {"name": "b"}, "'a' was called 'a', but a step has that name now"),
    ],
)
def test_an_earlier_name_belongs_to_one_step_that_is_called_otherwise_now(first: dict[str, Any], second: dict[str, Any], told: str) -> None:
    process = Process("p", Case)

    def declare() -> None:
        for settings in (first, second):
            process.node(write, writes="draft", **settings)

    with pytest.raises(DefinitionError) as refused:
        declare()

    assert told in str(refused.value)


def test_what_is_stored_under_an_earlier_name_is_known_under_the_present_one() -> None:
    process = Process("p", Case)
    process.node(write, writes="draft", name="west", former_names=("left", "a"))
    process.node(write, writes="draft", name="east")

    stored = ["west", "left", "a", "east", "gone", "left + east", "a over lines", "a[3]", "a[a over b]", "finish('a')"]
    present = ["west", "west", "west", "east", "gone", "west + east", "west over lines", "west[3]", "west[a over b]", "finish('a')"]
    assert [process.called(name) for name in stored] == present


def definition(
    *,
    state: type[State] = Case,
    version: int = 1,
    condition: Any = lambda c: c.draft is None and not c.long,
    writing: Any = write,
    first: str = "no draft",
    **settings: Any,
) -> AnyProcess:
    process = Process("p", state, version=version)
    writes = process.node(writing, writes="draft", name="write", **settings)

    async def check(line: Item[str]) -> str:
        return line

    async def send(draft: str, *, ctx: Context) -> str:
        return draft

    checking = process.node(check, writes="checks")
    ask = process.pause(writes="answer", answer=str, shows=("draft",))
    sending = process.effect(send, writes="receipt", safety=Idempotent())
    process.rules(
        when(first, condition, writes),
        when("unchecked", lambda c: c.checks is None, each(checking, over="lines")),
        when("not asked", lambda c: c.answer is None, ask),
        when("not sent", lambda c: c.receipt is None, sending),
        otherwise(finish("sent")),
    )
    return process


async def write_better(message: str) -> str:
    return message.upper()


async def write_from_more(message: str, lines: list[str]) -> str:
    return message.join(lines)


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"first": "no text"},
        {"state": CaseWithMore},
        {"state": CaseWithAnotherProperty},
        {"condition": lambda c: c.draft is None or not c.long},
        {"condition": lambda c: c.draft is None and not c.lines},
        {"condition": lambda c: c.draft is None and len(c.message) < 10},
        {"writing": write_from_more},
        {"retry": Retry(attempts_max=7)},
        {"on_failure": "park", "timeout_seconds": 3.0},
        {"former_names": "compose"},
    ],
    ids=str,
)
def test_what_decides_changes_the_fingerprint(changed: dict[str, Any]) -> None:
    assert definition(**changed).fingerprint != definition().fingerprint


@pytest.mark.parametrize(
    "changed",
    [
        {"writing": write_better},
        {
            "condition": lambda c: (
                c.draft is None  # a comment
                and not c.long
            )
        },
    ],
    ids=["the body of a node", "the layout of a condition"],
)
def test_what_does_not_decide_leaves_the_fingerprint(changed: dict[str, Any]) -> None:
    assert definition(**changed).fingerprint == definition().fingerprint


def test_a_constant_and_a_function_that_a_condition_refers_to_are_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def prints() -> str:
        return definition(condition=lambda c: is_short(c.message)).fingerprint

    before = prints()
    monkeypatch.setattr(sys.modules[__name__], "LIMIT", 200)
    with_another_limit = prints()
    monkeypatch.setattr(sys.modules[__name__], "is_short", lambda text: text == "")
    with_another_function = prints()

    assert len({before, with_another_limit, with_another_function}) == 3


def is_short(text: str) -> bool:
    return len(text) < LIMIT


def test_the_fingerprint_is_the_same_in_every_run() -> None:
    program = "from pointsman_desk.process import support; print(support.fingerprint)"

    prints = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
        prints.add(done.stdout.strip())

    assert len(prints) == 1
    assert len(prints.pop()) == 64


def test_a_process_without_rules_has_no_fingerprint_yet() -> None:
    process = Process("p", Case)

    with pytest.raises(DefinitionError, match="has no rules"):
        process.fingerprint  # noqa: B018 - it raises


def test_a_fingerprint_tells_a_parallel_step_from_its_parts() -> None:
    def halves(*, together: bool) -> AnyProcess:
        process = Process("p", Case)
        nodes = [process.node(write, writes=field, name=field) for field in ("draft", "answer")]
        rules = [when("a", lambda c: c.draft is None, parallel(*nodes))] if together else [when("a", lambda c: c.draft is None, nodes[0])]

        async def rest(message: str) -> tuple[list[str], str]:
            return [], ""

        other = process.node(rest, writes=("checks", "receipt"))
        process.rules(
            *rules, when("b", lambda c: c.answer is None, nodes[1]), when("c", lambda c: c.checks is None, other), otherwise(finish("x"))
        )
        return process

    assert halves(together=True).fingerprint != halves(together=False).fingerprint
