"""`pointsman import-langgraph`: the open threads of LangGraph's own savers go on on ours."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from typer.testing import CliRunner

from pointsman.cli.main import app
from pointsman.integrations.langgraph import PointsmanSaver
from postgres_server import Server

Opener = Callable[..., Any]


@dataclass
class Mail:
    """A class of the program, which the command must not need."""

    text: str


class Case(TypedDict, total=False):
    mails: list[Any]
    draft: str
    answer: str


def graph_on(saver: Any) -> Any:
    def draft(state: Case) -> Case:
        if state["mails"] == ["broken"]:
            raise ValueError("no such mail")
        return {"draft": f"dear {len(state['mails'])}"}

    inner = StateGraph(Case)
    inner.add_node("ask", lambda state: {"answer": interrupt(state["draft"])})
    inner.add_edge(START, "ask")
    inner.add_edge("ask", END)
    graph = StateGraph(Case)
    graph.add_node("draft", draft)
    graph.add_node("ask", inner.compile())
    graph.add_edge(START, "draft")
    graph.add_edge("draft", "ask")
    graph.add_edge("ask", END)
    return graph.compile(checkpointer=saver)


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


def fill(saver: Any, pickling: Any) -> None:
    """Four threads: one that waits, one that has ended, one that failed, and one with a pickled value."""
    graph = graph_on(saver)
    mails = [HumanMessage("hello", id="1"), Mail("x" * 5_000), {1: b"raw"}]
    for name in ("waits", "ended"):
        graph.invoke({"mails": mails}, thread(name))
    graph.invoke(Command(resume="yes"), thread("ended"))
    with pytest.raises(ValueError, match="no such mail"):
        graph.invoke({"mails": ["broken"]}, thread("failed"))
    graph_on(pickling).invoke({"mails": [Opener]}, thread("pickled"))


@pytest.fixture
def sqlite_threads(tmp_path: Path) -> str:
    """The file of a SqliteSaver with threads."""
    path = tmp_path / "checkpoints.db"
    with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        fill(SqliteSaver(connection), SqliteSaver(connection, serde=JsonPlusSerializer(pickle_fallback=True)))
    return str(path)


@pytest.fixture
def postgres_threads(postgres: Server, postgres_url: str) -> str:
    """The URL of a PostgresSaver with threads, whose tables are in a schema of this test."""
    savers = pytest.importorskip("langgraph.checkpoint.postgres")
    server, _, schema = postgres_url.rpartition("schema=")
    postgres.execute(f"CREATE SCHEMA {schema}")
    url = f"{server}options=-csearch_path%3D{schema}"
    with savers.PostgresSaver.from_conn_string(url) as saver:
        saver.setup()
        fill(saver, savers.PostgresSaver(saver.conn, serde=JsonPlusSerializer(pickle_fallback=True)))
    return url


def apart(*arguments: str) -> tuple[int, str]:
    """Call the command in a process that cannot import the classes of this module."""
    whole = [sys.executable, "-m", "pointsman.cli.main", "import-langgraph", *arguments]
    done = subprocess.run(whole, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["import-langgraph", *arguments])
    return done.exit_code, done.output


@pytest.mark.parametrize("threads", ["sqlite_threads", "postgres_threads"])
def test_open_threads_are_taken_over_counted_and_go_on(threads: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    place, to = request.getfixturevalue(threads), tmp_path / "cases.db"
    code, told = command(place, "--to", str(to), "--dry-run")
    assert (code, to.exists()) == (1, False), told
    assert "4 threads; nothing was written" in told
    for called in (apart, command):  # it can be run again
        code, told = called(place, "--to", str(to), "--json")
        assert code == 1, told
        taken = {one["thread"]: one for one in json.loads(told)}
    assert (
        command(place, "--to", str(to))[1].splitlines()[-1].startswith("2 of 4 threads are here, with 7 of 7 checkpoints, 12 of 12 writes")
    )
    assert {name: one["state"] for name, one in taken.items()} == {
        "waits": "waits for an answer", "ended": "ended", "failed": "failed", "pickled": "unknown",
    }  # fmt: skip
    assert "is pickled, and pointsman runs no code that a database holds" in taken["pickled"]["refused"]
    for name in ("waits", "failed"):
        assert (taken[name]["checkpoints_here"], taken[name]["writes_here"]) == (taken[name]["checkpoints"], taken[name]["writes"])

    with PointsmanSaver.open(to) as saver:
        graph = graph_on(saver)
        assert not graph.get_state(thread("ended")).values
        ended = graph.invoke(Command(resume="yes"), thread("waits"))
        assert ended["mails"] == [HumanMessage("hello", id="1"), Mail("x" * 5_000), {1: b"raw"}]
        assert (ended["draft"], ended["answer"]) == ("dear 3", "yes")
        with pytest.raises(ValueError, match="no such mail"):
            graph.invoke(None, thread("failed"))

    code, told = command(place, "--to", str(to), "--ended", "--json")
    taken = {one["thread"]: one for one in json.loads(told)}
    assert taken["waits"]["refused"] == "the thread has gone on here"
    assert taken["ended"]["checkpoints_here"] == taken["ended"]["checkpoints"] > 0
    with PointsmanSaver.open(to) as saver:
        assert graph_on(saver).get_state(thread("ended")).values["answer"] == "yes"


def test_what_is_no_database_of_a_saver_is_refused_in_one_sentence(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE checkpoints (id)")
    for place, why in ((str(tmp_path / "missing.db"), "is not a file"), (str(other), "cannot be read as the file of a SqliteSaver")):
        code, told = command(place, "--to", str(tmp_path / "cases.db"))
        assert code == 1
        assert told.startswith("pointsman: ")
        assert why in told
        assert "Traceback" not in told
