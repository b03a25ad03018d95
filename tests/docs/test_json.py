"""docs/commands.md lists what each command prints with --json: its keys are an interface, which programs read."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from pointsman import AtMostOnce, Delivery, Engine, GivenUp, ModelResponse, Process, State, Usage, finish, otherwise, park, when
from pointsman.cli.main import app
from pointsman.integrations.langgraph.taking_over import Taken
from pointsman.store.moving import Moving
from pointsman_desk.cli.main import app as desk

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
PROGRAMS: dict[str, Any] = {"pointsman": app, "pointsman-desk": desk}
ROW = re.compile(r"^\| ([^|]*`[^|]*) \| (object|list|lines) \| (.*) \|$", re.MULTILINE)


class Verdict(BaseModel):
    paid: bool


class Claim(State):
    customer: str
    letter: str | None = None
    verdict: Verdict | None = None
    receipt: str | None = None


claims = Process("claims", Claim)
assess = claims.pause(name="assess", writes="verdict", answer=Verdict, shows=("customer",))


@claims.node(writes="letter")
def write(customer: str) -> ModelResponse[str]:
    return ModelResponse(f"Dear {customer}", "m-1", f"Dear {customer}", usage=Usage(input_tokens=1, output_tokens=2))


@claims.effect(writes="receipt", safety=AtMostOnce())
async def pay(customer: str) -> str:
    raise ConnectionError("the bank did not answer")


claims.rules(
    when("nobody knows the customer", lambda c: c.customer == "nobody", park("unknown")),
    when("there is no letter", lambda c: c.letter is None, write),
    when("undecided", lambda c: c.verdict is None and c.customer != "sure", assess),
    when("not paid", lambda c: c.receipt is None, pay),
    otherwise(finish("paid")),
)


class Note(State):
    text: str


notes = Process("notes", Note)
notes.accept(str, writes="text", correlate=lambda text: text)
notes.rules(otherwise(finish("read")))

processes = [claims, notes]


class Closed:
    """A subscriber that gives up everything."""

    name = "pager"

    async def deliver(self, delivery: Delivery) -> None:
        raise GivenUp(delivery.events[-1].cursor, "it is closed.")


class Commands:
    """A database whose case 1 waits, 2, 4 and 5 are parked, and 3 has an effect in doubt; and what commands print there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = folder / "claims.db"

        async def main() -> None:
            async with Engine.open(self.db, processes, subscribers=[Closed()]) as engine:
                for customer in ("Ada", "nobody", "sure", "nobody", "nobody"):
                    await engine.wait_until_resting((await engine.start(claims, {"customer": customer})).case)
                while not await engine.reader.gaps():  # noqa: ASYNC110 - until the subscriber has given up; nobody tells
                    await asyncio.sleep(0)

        asyncio.run(main())

    def run(self, *words: object, code: int = 0) -> str:
        environment = {"POINTSMAN_DB": str(self.db), "POINTSMAN_APP": "docs.test_json:processes"}
        done = CliRunner().invoke(app, list(map(str, words)), env=environment)
        assert done.exit_code == code, (words, done.output)
        return done.stdout

    def outputs(self) -> Iterator[tuple[str, str]]:
        """What each command prints, by its name on the page; the commands that change something come last."""
        yield from ((name, self.run(name, "--json")) for name in ("ps", "events", "usage", "check", "backtest", "stats"))
        yield "doctor", self.run("doctor", "--json")
        yield "verify", self.run("verify", "docs.test_json:claims", "--json")
        yield "show CASE", self.run("show", 1, "--json")
        yield "show CASE --at REVISION", self.run("show", 1, "--at", 1, "--json")
        yield "explain CASE", self.run("explain", 1, "--json")
        yield "explain CASE --set", self.run("explain", 1, "--set", "customer=Bo", "--json")
        yield "diff", self.run("diff", 1, "--json")
        yield "export", self.run("export", 1)
        self.run("fork", 1, "--at", 1, "--into", self.folder / "fork.db")
        yield "try", self.run("try", "--db", self.folder / "fork.db", "--json")
        yield "erase --person", self.run("erase", "--person", "ada@shop.example", "--why", "a test", "--json")
        yield "backup", self.run("backup", self.folder / "copy.db", "--json")
        yield "restore", self.run("restore", self.folder / "copy.db", self.folder / "new.db", "--json")
        for operation in ("redrive", "cancel", "erase"):
            yield f"bulk {operation}", self.run("bulk", operation, "--process", "claims", "--why", "a test", "--json")
        yield "bulk resolve", self.run("bulk", "resolve", "--process", "claims", "--why", "a test", "--call-again", "--json")
        yield "answer CASE", (task := self.run("answer", 1, "--json"))
        yield "assign", self.run("assign", 1, "--to", "bo", "--json")
        digest = json.loads(task)["digest"]
        yield "answer CASE ANSWER", self.run("answer", 1, '{"paid": true}', "--digest", digest, "--json")
        yield "redrive", self.run("redrive", 2, "--why", "a test", "--json")
        key = json.loads(self.run("show", 3, "--json"))["effects"][0]["key"]
        yield "resolve", self.run("resolve", key, "--happened", "--outcome", '"r-1"', "--why", "a test", "--json")
        yield "cancel", self.run("cancel", 4, "--why", "a test", "--json")
        yield "erase", self.run("erase", 5, "--why", "a test", "--json")
        yield "start", self.run("start", "claims", '{"customer": "nobody"}', "--json")
        yield "send", self.run("send", "notes", '"hello"', "--json")
        yield "redeliver", self.run("redeliver", "pager", "--json")
        yield "pause-intake", self.run("pause-intake", "--why", "a test", "--json")
        yield "resume-intake", self.run("resume-intake", "--json")
        self.run("users", "add", "ada", "--role", "admin", "--elsewhere")
        self.run("tokens", "add", "robot", "--scope", "read")
        yield "users list", self.run("users", "list", "--json")
        yield "tokens list", self.run("tokens", "list", "--json")
        yield "audit", self.run("audit", "--json")
        yield "move", json.dumps(dict.fromkeys(Moving._fields))
        yield "import-langgraph", json.dumps([dict.fromkeys(Taken._fields)])


def described(name: str, output: str) -> tuple[str, tuple[str, ...]]:
    """The shape of an output, and its keys."""
    if name in {"events", "audit"}:
        return "lines", tuple(json.loads(output.splitlines()[0]))
    value: Any = json.loads(output)
    return ("list", tuple(value[0])) if isinstance(value, list) else ("object", tuple(value))


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    """The shape and the keys that the page gives for each command."""
    return {
        name: (shape, tuple(re.findall(r"`(\w+)`", keys)))
        for names, shape, keys in ROW.findall(PAGE.read_text(encoding="utf-8"))
        for name in re.findall(r"`([^`]+)`", names)
    }


def test_each_command_prints_the_keys_that_the_page_lists(tmp_path: Path) -> None:
    found = {name: described(name, output) for name, output in Commands(tmp_path).outputs()}

    assert found == documented()


def takes_json(command: Any, name: str = "") -> Iterator[str]:
    """The commands that have the option --json."""
    for sub, below in getattr(command, "commands", {}).items():
        yield from takes_json(below, f"{name} {sub}".strip())
    if any("--json" in option.opts for option in command.params):
        yield name


def test_the_page_lists_each_command_that_prints_json() -> None:
    listed = {re.sub(r" (CASE|--).*", "", name) for name in documented()}

    assert set(takes_json(typer.main.get_command(app))) <= listed


@pytest.mark.parametrize(
    ("program", "typed", "completions"),
    [
        ("pointsman", "pointsman ba", ["backtest", "backup"]),
        ("pointsman", "pointsman bulk re", ["redrive", "resolve"]),
        ("pointsman-desk", "pointsman-desk app", ["approve"]),
    ],
)
def test_the_shell_completes_the_commands(program: str, typed: str, completions: list[str]) -> None:
    words = typed.split()
    environment = {
        f"_{program.replace('-', '_').upper()}_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }

    done = CliRunner().invoke(PROGRAMS[program], [], env=environment, prog_name=program)

    assert done.stdout.split() == completions
