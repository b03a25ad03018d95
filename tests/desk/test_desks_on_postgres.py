"""Desks that share a PostgreSQL database, in one process; tests/journeys/test_postgres_desks.py has desks that die."""

import asyncio
import json
import re
import shutil
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import Result
from typer.testing import CliRunner

from pointsman import Blob
from pointsman_desk import desk as at_desk
from pointsman_desk.case import Incoming
from pointsman_desk.cli.main import app
from pointsman_desk.config import SAMPLE, DeskConfig, load_config
from pointsman_desk.errors import AnotherDesk, IndexUnavailable
from pointsman_desk.folder import reader_of
from pointsman_desk.mail.sent_replies import SentReplies, SentReply
from pointsman_desk.mail.threads import Place, Threads
from pointsman_desk.nodes.bounds import Bounds, allow
from pointsman_desk.shared import SharedTables
from pointsman_desk.shop.guesses import GUESSES_MAX, Guesses
from pointsman_desk.standing import probably_automatic
from pointsman_desk.wiring import identity_of, open_desk
from postgres_server import Server

EXPECTED = tomllib.loads((Path(__file__).parent / "expected_samples.toml").read_text(encoding="utf-8"))
NOW = 1_795_000_000.0
LEASE_SECONDS = 3_600.0  # no test takes so long


@pytest.fixture(name="tables")
def _tables(postgres_url: str) -> Iterator[SharedTables]:
    with closing(SharedTables(postgres_url)) as tables:
        yield tables


@pytest.fixture(name="others")
def _others(tables: SharedTables, postgres_url: str) -> Iterator[SharedTables]:
    """The same tables, as another desk has them."""
    with closing(SharedTables(postgres_url)) as others:
        yield others


class Commands:
    """The commands of a desk on a database."""

    def __init__(self, folder: Path, url: str) -> None:
        self.file, self.mailbox = folder / "desk.toml", folder / "mailbox"
        self.mailbox.mkdir()
        self.file.write_text(
            f'home = "{folder / "desk"}"\ndatabase = "{url}"\nmailbox = "{self.mailbox}"\nauthserv = "mx.haus-und-hof.example"\n',
            encoding="utf-8",
        )

    @property
    def config(self) -> DeskConfig:
        return load_config(self.file)

    def deliver(self, *names: str) -> None:
        for name in names:
            shutil.copyfile(SAMPLE / "mails" / name, self.mailbox / name)

    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(app, [*words, "--config", str(self.file)])

    def sent(self) -> int:
        return len([*(self.config.outbox / "new").glob("*")])


@pytest.fixture(name="desk")
def _desk(tmp_path: Path, postgres_url: str) -> Commands:
    return Commands(tmp_path, postgres_url)


def test_the_sample_mails_come_to_the_same_ends_on_postgres_as_in_a_file(tmp_path: Path, postgres_url: str) -> None:
    config = DeskConfig(home=tmp_path / "desk", database=postgres_url)

    async def ends() -> tuple[Counter[str], int]:
        async with open_desk(config) as desk:
            await at_desk.work_off(desk, lambda name: None, asyncio.Event())
        async with reader_of(config) as reader:
            return Counter(row.outcome or str(row.status) for row in await reader.cases()), len(await probably_automatic(reader))

    found, automatic = asyncio.run(ends())

    assert found == Counter(row["ends"] for row in EXPECTED.values() if "duplicate_of" not in row)
    assert (found["waiting"] - automatic, automatic, found["sent"]) == (22, 3, 14)
    assert len([*(config.outbox / "new").iterdir()]) == 14
    assert [*config.home.glob("*.db")] == [config.shop_file], "the desk keeps a file beside the database"


def test_commands_act_through_the_database(desk: Commands) -> None:
    assert "there are no cases" in desk("cases").output
    desk.deliver("01-article.eml", "02-status-en.eml")

    assert desk("run").exit_code == 0
    [waiting] = [str(case["id"]) for case in json.loads(desk("cases", "--json").output) if case["status"] == "waiting"]
    shown = desk("show", waiting)
    approved = desk("approve", waiting, "--yes", "--by", "anna")
    again = desk("run")

    assert "refund" in shown.output
    assert (approved.exit_code, again.exit_code) == (0, 0), approved.output + again.output
    assert desk.sent() == 2
    assert [problem for problem in json.loads(desk("doctor", "--json").output) if problem["problem"]] == []


def test_a_run_says_that_another_desk_reads_the_mailbox(desk: Commands, tables: SharedTables) -> None:
    desk.deliver("01-article.eml")
    assert tables.read(f"folder {desk.mailbox}", "another desk", LEASE_SECONDS)

    there = desk("run")
    tables.leave(f"folder {desk.mailbox}", "another desk")
    here = desk("run")

    assert "Another desk reads the mailbox" in there.output
    assert "1 new" in here.output


def test_the_doctor_says_which_right_is_missing(desk: Commands, postgres: Server, postgres_url: str) -> None:
    schema = postgres_url.rpartition("schema=")[2]
    role = f"{schema}_app"
    postgres.execute(f"CREATE ROLE {role} LOGIN")
    text = desk.file.read_text(encoding="utf-8")
    desk.file.write_text(text.replace("//postgres@", f"//{role}@"), encoding="utf-8")

    def problem() -> str:
        return str(next(one["problem"] for one in json.loads(desk("doctor", "--json").output) if one["what"] == "database"))

    told = [problem()]
    try:
        for name in (f"{schema}_desk", schema):
            postgres.execute(f"CREATE SCHEMA {name}; GRANT ALL ON SCHEMA {name} TO {role}")
            told.append(problem())
        with closing(SharedTables(postgres_url)):
            told.append(problem())
    finally:
        postgres.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    assert [f"CREATE SCHEMA IF NOT EXISTS {schema}_desk" in told[0], f"`CREATE SCHEMA {schema};" in told[1], told[2]] == [
        True,
        True,
        "None",
    ]
    assert f"GRANT ALL ON ALL TABLES IN SCHEMA {schema}_desk TO" in told[3]


def test_a_command_says_that_the_database_cannot_be_reached(desk: Commands) -> None:
    desk.file.write_text('database = "postgresql://desk:secret@127.0.0.1:1/none"', encoding="utf-8")

    told, checked = desk("cases"), json.loads(desk("doctor", "--json").output)

    assert told.exit_code == 1
    assert "postgresql://desk@127.0.0.1:1/none cannot be used now" in " ".join(told.output.split())
    assert "secret" not in told.output
    assert [finding["what"] for finding in checked if finding["problem"]] == ["database"]


def test_a_role_that_may_not_create_schemas_is_told_what_to_grant_and_uses_schemas_that_it_is_given(
    postgres: Server, postgres_url: str
) -> None:
    schema = f"{postgres_url.rpartition('schema=')[2]}_desk"
    role, url = f"{schema}_role", urlsplit(postgres_url)
    postgres.execute(f"CREATE ROLE {role} LOGIN")
    try:
        asked = url._replace(netloc=f"{role}@{url.netloc.rpartition('@')[2]}").geturl()
        with pytest.raises(IndexUnavailable) as denied:
            SharedTables(asked)
        [told] = re.findall("`(.*)`", str(denied.value))
        postgres.execute(told)

        with closing(SharedTables(asked)) as tables:
            assert tables.fact("a", "b") == "b"
    finally:
        postgres.execute(f"DROP OWNED BY {role}")
        postgres.execute(f"DROP ROLE {role}")


def test_a_setting_that_is_no_url_is_refused(desk: Commands) -> None:
    desk.file.write_text('database = "cases.db"', encoding="utf-8")

    assert "database: it is not a URL such as postgresql://" in " ".join(desk("cases").output.split())


def test_desks_on_one_database_are_one_desk_at_a_mailbox(desk: Commands, tmp_path: Path) -> None:
    other = desk.config.model_copy(update={"home": tmp_path / "other"})
    stranger = DeskConfig(home=tmp_path / "stranger", mailbox=desk.mailbox)
    desk("run")

    assert identity_of(desk.config) == identity_of(other) is not None

    async def open_it(config: DeskConfig) -> None:
        async with open_desk(config):
            pass

    with pytest.raises(AnotherDesk, match="belongs to the desk in"):
        asyncio.run(open_it(stranger))
    with pytest.raises(AnotherDesk, match="is not the outbox of the other desks"):  # or both would get a reply that is sent again
        asyncio.run(open_it(other))


def test_desks_share_the_secret_the_index_and_what_senders_guessed(tables: SharedTables, others: SharedTables) -> None:
    here, there = Threads(tables), Threads(others)
    here.add(Place(7, "conversation"), [("mail", "a@post.example")], "key")
    here.add(Place(8, "conversation"), [("mail", "a@post.example")], "key")
    here.add(Place(9, "another"), [("mail", "a@post.example")], "other key")
    here.follows(7, Place(8, "conversation"))
    here.arrived("jane@post.example", "key", NOW, NOW - 60)
    for number in range(GUESSES_MAX):
        assert Guesses(tables).may_name("jane@post.example", f"A-{number}", NOW)
    SentReplies(tables, Random(1)).record(SentReply("reply", 7, "conversation", NOW), ["mail"])

    assert tables.secret(Random(1)) == others.secret(Random(2))
    assert there.find("mail", "a@post.example") == Place(8, "conversation")
    assert there.reused("a@post.example", "other key")
    assert there.later(7) == [Place(8, "conversation")]
    assert there.arrived("jane@post.example", "second", NOW + 1, NOW - 60) == [NOW, NOW + 1]
    assert not Guesses(others).may_name("jane@post.example", "A-9", NOW)
    again = SentReplies(others, Random(3))
    again.forget_cases()
    assert again.earlier_reply("mail") == SentReply("reply", 7, "conversation", NOW)


def test_one_desk_reads_a_mailbox_until_its_lease_ends(tables: SharedTables, others: SharedTables) -> None:
    assert tables.read("inbox", "one", LEASE_SECONDS)
    assert not others.read("inbox", "two", LEASE_SECONDS)
    assert tables.mark("inbox", "one", "50 mails")

    assert tables.read("inbox", "one", 0.0)  # as if the desk had died and its lease had ended
    assert others.read("inbox", "two", LEASE_SECONDS)

    assert others.bookmark("inbox") == "50 mails"
    assert not tables.mark("inbox", "one", "40 mails"), "a desk that stood still moved the bookmark back"
    assert not tables.read("inbox", "one", LEASE_SECONDS)
    others.leave("inbox", "two")
    assert tables.read("inbox", "one", LEASE_SECONDS)


def test_two_desks_do_not_exceed_the_limit_of_automatic_replies(tables: SharedTables, postgres_url: str) -> None:
    def allowed(db: Any, case: int) -> bool:
        mail = Incoming(email_id="m", sender="jane@post.example", key=f"{case}", conversation="c", raw=Blob.of(b""), at=NOW)
        context: Any = SimpleNamespace(case=case, now=NOW)
        return allow([mail], bounds=Bounds(address_day=1, schema=tables.schema), db=db, ctx=context).granted

    impatient = SharedTables(f"{postgres_url}&options=-c%20lock_timeout%3D50")
    with closing(impatient), tables.using(begins=True) as here:
        first = allowed(here, 1)
        with pytest.raises(IndexUnavailable, match="lock timeout"), impatient.using(begins=True) as there:
            allowed(there, 2)  # it waits for the first to be committed
    with tables.using(begins=True) as here:
        second = allowed(here, 2)

    assert (first, second) == (True, False)


def test_desks_go_on_after_the_server_has_ended_a_connection(tables: SharedTables, others: SharedTables, postgres_url: str) -> None:
    with tables.using() as connection:
        number = connection.execute("SELECT pg_backend_pid()").fetchone()[0]
    with others.using() as connection:
        connection.execute("SELECT pg_terminate_backend(?, 10000)", (number,))

    assert tables.read("inbox", "one", LEASE_SECONDS)
