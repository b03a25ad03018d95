"""What is given on the command line and cannot be used is told in one sentence that names it."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pointsman import Engine, Process, Searchable, State, finish, otherwise, park, when
from pointsman.cli.main import app

DEEP = "[" * 100_000
HALF = "\udc80"  # what Python makes of a byte that is no UTF-8


class Note(State):
    text: Searchable[str]
    rating: float = 0.0
    kept: str | None = None


notes = Process("notes", Note)
keep = notes.pause(writes="kept", answer=str, shows=("text",))
notes.rules(
    when("bad", lambda n: n.text == "bad", park("bad")), when("not kept", lambda n: n.kept is None, keep), otherwise(finish("kept"))
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")

    async def main() -> None:
        async with Engine.open(folder / "notes.db", [notes]) as engine:
            for text in ("good", "bad"):
                await engine.wait_until_resting((await engine.start(notes, {"text": text})).case)

    asyncio.run(main())
    (folder / "file").touch()
    return folder


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("explain", "1", "--set", f"text={DEEP}"), "text is nested too deeply; give a value with fewer brackets within each other."),
        (("bulk", "redrive", "--status", "parked", "--why", "x", "--set", f"text={DEEP}"), "text is nested too deeply"),
        (("start", "notes", DEEP), "STATE is nested too deeply"),
        (("start", "notes", '{"text": "\\ud800"}'), "the call cannot be sent, because it holds a lone surrogate"),
        (("start", "notes", '{"text": "good", "rating": NaN}'), "STATE is not JSON (it has no NaN)"),
        (("start", "notes", '{"text": "good"}', "--key", HALF), "the call cannot be sent: key: Input should be a valid string"),
        (("cancel", "1", "--why", HALF), "the call cannot be sent: why: Input should be a valid string"),
        (("bulk", "cancel", "--status", "waiting", "--yes", "--why", HALF), "the call cannot be sent: why: Input should be a valid string"),
        (("erase", "--person", HALF, "--why", "x"), "the call cannot be sent: person: Input should be a valid string"),
        (("erase", "--person", "x" * 201, "--why", "x"), "the call cannot be sent: person: String should have at most 200 characters"),
        (("redeliver", HALF), "the call cannot be sent: subscriber: Input should be a valid string"),
        (("bulk", "cancel", "--reason", "", "--why", "x", "--yes"), "--reason is empty, and would find each case; give it a text, or leave it out."),
        (("bulk", "cancel", "--status", "waiting", "--words", " ", "--why", "x", "--yes"), "--words is empty, and would find each case"),
        (("stats", "--last", "99999999999999d"), "--last: '99999999999999d' is longer than 36,500 days; give a shorter time."),
        (("export", "1", "--blobs", "{folder}/file"), "{folder}/file cannot be used (File exists); name another file or folder, or mend that one."),
        (("fork", "1", "--at", "1", "--into", "{folder}/" + "f" * 300), "cannot be used (File name too long); name another file or folder"),
        (("map", "--svg", "{folder}/none/map.svg"), "{folder}/none/map.svg cannot be used (No such file or directory)"),
    ],
    ids=lambda words: " ".join(words)[:30].encode("ascii", "replace").decode() if isinstance(words, tuple) else "",
)  # fmt: skip
def test_a_value_that_cannot_be_used_is_told_in_a_sentence(words: tuple[str, ...], says: str, folder: Path) -> None:
    environment = {"POINTSMAN_DB": str(folder / "notes.db"), "POINTSMAN_APP": "operations.test_given_values:notes"}

    done = CliRunner().invoke(app, [word.replace("{folder}", str(folder)) for word in words], env=environment)

    assert isinstance(done.exception, SystemExit)
    assert done.exit_code == 1
    assert says.replace("{folder}", str(folder)) in done.stderr
