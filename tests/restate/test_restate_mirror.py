"""A mirror of cases on Restate: what is copied, when, and what the file is good for."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from hashlib import md5
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from objects_in_memory import Died, Objects, client_of, client_that, raises
from orders import Outside, orders
from typer.testing import CliRunner

from pointsman import Engine, Refused, Status, StoreError
from pointsman.cli.main import app
from pointsman.cli.mirroring import _tell_if_away
from pointsman.definition.process import AnyProcess
from pointsman.errors import StoreAway
from pointsman.integrations.restate_mirror import Mark, Mirror, Mirrored, QueryEndpoint
from pointsman.integrations.restate_pages import mirrored
from pointsman.restate import RestateClient
from pointsman.restate.work import Work
from pointsman.server.access import LocalAccess
from pointsman.server.app import create_app
from pointsman.store.mirror import MirrorStore, open_mirror
from pointsman.store.query import CaseQuery
from pointsman.store.sqlite_backup import back_up
from pointsman.store.sqlite_reader import open_reader
from pointsman.testing.clock import ManualClock
from pointsman.web import pages
from ports import free_ports
from server.serving import claims

BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


class InMemory:
    """The query endpoint of objects in memory."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.read: list[str] = []

    async def marks(self) -> Mapping[str, Mark]:
        cases = {key: state for key, state in self.objects.states.items() if "case" in state}
        return {key: Mark(f"{len(state)} {md5(state['case']).hexdigest()}", sum(map(len, state.values()))) for key, state in cases.items()}

    async def entries(self, keys: Iterable[str]) -> Mapping[str, Mapping[str, str]]:
        self.read += keys
        return {key: {name: value.decode() for name, value in self.objects.states[key].items()} for key in keys}


class Shop:
    """Orders on objects in memory, and a mirror of them."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "mirror.db"
        self.process = orders()
        self.processes: list[AnyProcess] = [self.process]
        self.objects = Objects(ManualClock())
        self.cases = InMemory(self.objects)
        self.objects.serve(Work([self.process], {"outside": Outside()}, clock=self.objects.clock))

    async def start(self, item: str, number: int) -> None:
        await self.objects.call("start", f"orders:{number}", {"seed": f"{number}", "inputs": {"item": item}, "key": f"{number}"})
        await self.objects.work(until=self.objects.clock.now() + 60)

    async def answer(self, number: int) -> None:
        token = (await self.objects.call("show", f"orders:{number}"))["pause"]["token"]
        await self.objects.call("answer", f"orders:{number}", {"token": token, "answer": {"agreed": True, "by": "ada"}, "by": "ada"})
        await self.objects.work(until=self.objects.clock.now() + 60)

    @asynccontextmanager
    async def mirror(self) -> AsyncIterator[Mirror]:
        """The mirror, opened as a program of its own would open it."""
        store = await open_mirror(self.file)
        try:
            yield Mirror(self.cases, store, self.processes, self.objects.clock)
        finally:
            await store.close()

    async def look(self) -> Mirrored:
        async with self.mirror() as mirror:
            return await mirror.look()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_mirror_tells_of_a_case_what_its_handlers_tell(shop: Shop) -> None:
    async def story() -> None:
        await shop.start("coffee", 1)
        await shop.start("tea", 2)
        await shop.answer(1)

        told = await shop.look()

        assert told == (2, 0, 2, ())
        with open_reader(shop.file) as reader:
            for number in (1, 2):
                shown = await shop.objects.call("show", f"orders:{number}")
                row, dossier = await reader.case(number), await reader.dossier(number)
                assert row is not None
                assert dossier is not None
                assert row._asdict() == {name: shown[name] for name in row._fields}
                assert {field.field: json.loads(field.text) for field in await reader.fields(number)} == shown["fields"]
                events = [(one.revision, one.at, one.kind, one.step, json.loads(one.facts)) for one in dossier.events]
                there = await shop.objects.call("events", f"orders:{number}")
                assert events == [(one["revision"], one["at"], one["kind"], one["step"], one["facts"]) for one in there]
                assert {entry.key: entry.status for entry in dossier.effects} == {one["key"]: one["status"] for one in shown["effects"]}
            assert [found.case.id for found in (await reader.find(CaseQuery(tasks_only=True))).rows] == []
            assert await reader.counts() == {Status.WAITING: 2}

    asyncio.run(story())


def test_a_second_look_reads_no_case_and_a_case_that_moved_on_is_copied_anew(shop: Shop) -> None:
    async def story() -> None:
        await shop.start("coffee", 1)
        await shop.start("coffee", 2)
        await shop.look()
        with open_reader(shop.file) as reader:
            tasks = [found.case.id for found in (await reader.find(CaseQuery(tasks_only=True))).rows]
            seen = await reader.events()
        shop.cases.read.clear()

        again = await shop.look()
        await shop.answer(2)
        moved = await shop.look()

        assert (again, moved) == ((0, 0, 2, ()), (1, 0, 2, ()))
        assert tasks == [1, 2]
        assert shop.cases.read == ["orders:2"]
        with open_reader(shop.file) as reader:
            assert (await reader.events())[: len(seen)] == seen
            new = await reader.events(after=seen[-1].cursor)
            assert {one.case for one in new} == {2}
            assert new[0].kind == "resumed"
            assert [found.case.id for found in (await reader.find(CaseQuery(tasks_only=True))).rows] == [1]

    asyncio.run(story())


def test_a_case_that_is_deleted_on_restate_leaves_the_mirror_and_its_cursors_are_not_used_again(shop: Shop) -> None:
    async def story() -> None:
        for number in (1, 2):
            await shop.start("coffee", number)
        await shop.look()
        with open_reader(shop.file) as reader:
            last = (await reader.events())[-1].cursor
        del shop.objects.states["orders:2"]

        told = await shop.look()
        await shop.start("coffee", 3)
        await shop.look()

        assert told == (0, 1, 1, ())
        with open_reader(shop.file) as reader:
            assert await reader.dossier(2) is None
            assert [one.id for one in await reader.cases()] == [1, 3]
            assert [one.kind for one in await reader.events(after=last)][:2] == ["expired", "accepted"]

    asyncio.run(story())


def test_a_mirror_that_is_interrupted_goes_on_with_the_next_case(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.integrations.restate_mirror.BATCH_CASES", 1)

    async def story() -> None:
        for number in (1, 2, 3):
            await shop.start("coffee", number)
        store = await open_mirror(shop.file)
        monkeypatch.setattr(store, "replace", dying_at(2, store))
        with pytest.raises(Died):
            await Mirror(shop.cases, store, shop.processes, shop.objects.clock).look()
        await store.close()
        shop.cases.read.clear()

        told = await shop.look()

        assert told == (2, 0, 3, ())
        assert shop.cases.read == ["orders:2", "orders:3"]

    asyncio.run(story())


def dying_at(time: int, store: MirrorStore) -> Any:
    """A `replace` that dies before it has written anything, when it is called for this time."""
    replace, calls = store.replace, count(1)

    async def replace_or_die(copies: Any) -> Any:
        if next(calls) == time:
            raise Died
        return await replace(copies)

    return replace_or_die


def test_a_case_that_was_deleted_and_started_again_between_two_looks_has_only_its_new_history(shop: Shop) -> None:
    async def story() -> None:
        await shop.start("coffee", 1)
        await shop.answer(1)
        await shop.look()
        del shop.objects.states["orders:1"]
        await shop.start("tea", 1)

        told = await shop.look()

        assert told == (1, 0, 1, ())
        there = await shop.objects.call("events", "orders:1")
        with open_reader(shop.file) as reader:
            dossier = await reader.dossier(1)
            assert dossier is not None
            assert [(one.revision, one.kind) for one in dossier.events] == [(one["revision"], one["kind"]) for one in there]

    asyncio.run(story())


def test_a_case_that_cannot_be_copied_is_named_and_the_others_are_copied(shop: Shop) -> None:
    async def story() -> None:
        for number in (1, 2):
            await shop.start("coffee", number)
        shop.processes = [shop.process, claims]
        state = shop.objects.states["orders:1"]
        shop.objects.states["claims:1"] = {**state, "case": state["case"].replace(b'"orders"', b'"claims"')}
        shop.objects.states["orders:2"]["case"] = b'{"row": "a private text"}'

        told = await shop.look()

        assert (told.copied, told.cases) == (1, 1)
        assert sorted(sentence[: sentence.index(" ", 6)] for sentence in told.left_out) == ["case claims:1", "case orders:2"]
        assert "private" not in "".join(told.left_out)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            httpx.ReadError(""),
            r"at http://restate\.test does not answer \(ReadError\), and may have taken this; look at the case before you repeat it",
        ),
        (httpx.ConnectError(""), r"no Restate server takes calls at http://restate\.test; start it, or correct the ingress \(--ingress\)"),
    ],
)
def test_an_answer_that_got_no_answer_says_whether_it_may_have_been_taken_and_the_pages_go_on(
    shop: Shop, error: Exception, told: str
) -> None:
    async def story() -> None:
        await shop.start("coffee", 1)
        async with (
            client_that(raises(error)) as lost,
            mirrored(shop.file, shop.processes, shop.cases, lost, clock=shop.objects.clock) as engine,
        ):
            token = (await engine.pending(1)).token

            with pytest.raises(StoreAway, match=told):
                await engine.resume(token, {"agreed": True, "by": "ada"}, by="ada")

            assert (await engine.pending(1)).token == token

    asyncio.run(story())


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--db", "postgresql://ada@db.test/cases"], "a mirror is a file, and postgresql://ada@db.test/cases is none"),
        ([], "does not answer (ConnectError); start it, or correct --admin."),
        (
            ["--admin", "localhost:9070"],
            "'localhost:9070' is no address of a server; write --admin with http:// or https://, such as http://127.0.0.1:9070.",
        ),
    ],
)
def test_the_command_says_in_one_sentence_why_it_cannot_copy(
    more: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [port] = free_ports(1)
    command = ["restate", "mirror", "--app", "server.serving:claims", "--db", "mirror.db", "--admin", f"http://127.0.0.1:{port}", *more]

    ran = CliRunner().invoke(app, command)

    assert ran.exit_code == 1
    assert told in ran.output
    assert len(ran.output.splitlines()) == 1


def test_pages_say_at_once_that_no_server_takes_calls_at_the_ingress(capsys: pytest.CaptureFixture[str]) -> None:
    [port] = free_ports(1)

    async def story() -> None:
        async with RestateClient(f"http://127.0.0.1:{port}") as client:
            await _tell_if_away(client)

    asyncio.run(story())

    assert (
        capsys.readouterr().err
        == f"pointsman: no Restate server takes calls at http://127.0.0.1:{port}; start it, or correct the ingress (--ingress).\n"
    )


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            httpx.Response(400, json={"message": "bad path: /query"}),
            "no admin API of a Restate server answers at http://restate.test (HTTP 400)",
        ),
        (httpx.Response(404), "no admin API of a Restate server answers at http://restate.test (HTTP 404); correct --admin."),
        (
            httpx.Response(200, text="<html>"),
            "no admin API of a Restate server answers at http://restate.test (HTTP 200); correct --admin.",
        ),
        (
            httpx.Response(500, json={"message": "too many\nfiles"}),
            "the Restate server at http://restate.test cannot tell its cases now (too many).",
        ),
    ],
)
def test_a_server_that_tells_no_cases_is_no_admin_api_or_says_why(answer: httpx.Response, told: str) -> None:
    async def story() -> None:
        async with QueryEndpoint("http://restate.test") as cases:
            cases._http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer), base_url="http://restate.test")
            await cases.marks()

    with pytest.raises(StoreAway) as raised:
        asyncio.run(story())

    assert told in str(raised.value)


def test_a_mirror_names_once_the_processes_that_it_leaves_out(shop: Shop) -> None:
    async def story() -> tuple[Mirrored, Mirrored]:
        for number in (1, 2):
            await shop.start("coffee", number)
        shop.processes = [claims]
        async with shop.mirror() as mirror:
            return await mirror.look(), await mirror.look()

    first, second = asyncio.run(story())

    assert first == (0, 0, 0, ("2 cases of 'orders' are left out; name that process with --app, too.",))
    assert second == (0, 0, 0, ())


def test_a_command_on_a_mirror_names_the_pages_before_it_asks_for_any_code(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.file.parent)
    asyncio.run(shop.look())

    ran = CliRunner().invoke(app, ["cancel", "1", "--why", "a mistake", "--by", "ada", "--db", "mirror.db"])

    assert ran.exit_code == 1
    assert "mirror.db is a mirror of cases that run on Restate, and no engine runs them here; repeat this while" in ran.output


def test_a_mirror_is_not_backed_up(shop: Shop, tmp_path: Path) -> None:
    asyncio.run(shop.look())

    with pytest.raises(StoreError, match="which no backup can bring back; back up the data of that server instead"):
        back_up(shop.file, tmp_path / "copy.db", now=0.0)

    assert not (tmp_path / "copy.db").exists()


def test_the_doctor_finds_nothing_wrong_with_a_mirror(shop: Shop) -> None:
    asyncio.run(shop.look())

    ran = CliRunner().invoke(app, ["doctor", "--db", str(shop.file), "--json"])

    assert {one["what"] for one in json.loads(ran.output) if one["level"] == "fail"} == set()
    assert "worker" not in ran.output


def test_no_engine_opens_a_mirror_and_no_mirror_is_kept_in_the_database_of_an_engine(shop: Shop, tmp_path: Path) -> None:
    async def story() -> None:
        await shop.start("coffee", 1)
        await shop.look()
        async with Engine.open(tmp_path / "cases.db", []):
            pass

        with pytest.raises(StoreError, match=r"mirror\.db is a mirror of cases that run on Restate, and no engine runs them here"):
            async with Engine.open(shop.file, [shop.process], resources={"outside": Outside()}):
                pass
        with pytest.raises(StoreError, match=r"cases\.db is the database of an engine, not a mirror"):
            await open_mirror(tmp_path / "cases.db")
        async with shop.mirror():
            with pytest.raises(StoreError, match=r"mirror\.db is open in another program \(process "):
                await open_mirror(shop.file)

    asyncio.run(story())


def test_the_pages_show_a_task_and_send_its_answer_to_restate(shop: Shop) -> None:
    async def story() -> None:
        await shop.start("coffee", 1)
        async with (
            client_of(shop.objects) as handlers,
            mirrored(shop.file, shop.processes, shop.cases, handlers, clock=shop.objects.clock) as engine,
            httpx.AsyncClient(
                transport=httpx.ASGITransport(create_app(engine, LocalAccess("ada", "a token"), pages())), base_url="http://127.0.0.1"
            ) as client,
        ):
            listed = (await client.get("/", headers=BROWSER)).text
            page = (await client.get("/cases/1/task", headers=BROWSER)).text
            hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page[page.index('class="task"') :]))
            form = {**hidden, "answer.agreed": "true", "answer.by": "Ada", "edit.price": "500"}

            answered = await client.post("/cases/1/task", data=form, headers=BROWSER)
            again = await client.post("/cases/1/task", data={**form, "answer.agreed": "false"}, headers=BROWSER)
            by_the_api = await client.post(
                "/api/v1/cases/1/answer", json={"digest": form["digest"], "answer": {"agreed": False, "by": "Ben"}}
            )

            assert "/cases/1/task" in listed
            assert "coffee" in page
            assert answered.status_code == 303
            assert again.status_code == 409
            assert "approval was answered by <strong>ada</strong>" in again.text
            assert (by_the_api.status_code, by_the_api.json()["by"]) == (409, "ada")
            shown = await shop.objects.call("show", "orders:1")
            assert (shown["fields"]["approval"], shown["fields"]["price"]) == ({"agreed": True, "by": "Ada"}, 500)
            assert (await engine.case(1)).revision == shown["revision"]
            assert [event.kind for event in await engine.reader.events()].count("resumed") == 1

    asyncio.run(story())


def test_what_an_operator_does_on_a_mirror_is_done_on_restate_or_refused(shop: Shop) -> None:
    async def story() -> None:
        for number in (1, 2):
            await shop.start("coffee", number)
        async with (
            client_of(shop.objects) as handlers,
            mirrored(shop.file, shop.processes, shop.cases, handlers, clock=shop.objects.clock) as engine,
        ):
            await engine.assign(1, "bo", by="ada", note="your client")
            cancelled = await engine.cancel(2, by="ada", why="the customer left")

            assert [(task.case, task.assignee) for task in (await engine.tasks()).rows] == [(1, "bo")]
            assert cancelled.status == (await shop.objects.call("show", "orders:2"))["status"] == Status.CANCELLED
            with pytest.raises(Refused, match="is a mirror of cases on Restate, where this is not offered"):
                await engine.erase(2, by="ada", why="asked")
            with pytest.raises(Refused, match="is a mirror of cases on Restate, where this is not offered"):
                await engine.pause_intake(by="ada", why="a fire")

    asyncio.run(story())


def test_an_effect_in_doubt_is_resolved_on_a_mirror_by_whoever_knows_of_its_last_call(shop: Shop) -> None:
    called = count(1)

    def dies(label: str) -> None:
        if label == "effect.called" and next(called) == 3:
            raise Died

    async def story() -> str:
        shop.objects.serve(Work([shop.process], {"outside": Outside()}, clock=shop.objects.clock, failpoints=dies))
        await shop.start("tea", 1)
        async with (
            client_of(shop.objects) as handlers,
            mirrored(shop.file, shop.processes, shop.cases, handlers, clock=shop.objects.clock) as engine,
        ):
            [doubt] = [one for one in (await shop.objects.call("show", "orders:1"))["effects"] if one["status"] == "in_doubt"]
            said = {"happened": True, "by": "ada", "why": "it is in the book", "outcome": "booked"}
            with pytest.raises(Refused, match="has been called again since"):
                await engine.resolve(doubt["key"], **said, expected_attempts=doubt["attempts"] - 1)
            await engine.resolve(doubt["key"], **said, expected_attempts=doubt["attempts"])
            await shop.objects.work(until=shop.objects.clock.now() + 60)
            return str((await shop.objects.call("show", "orders:1"))["fields"]["booked"])

    assert asyncio.run(story()) == "booked"


def test_a_start_by_the_api_of_a_mirror_passes_its_correlation_key_on(shop: Shop) -> None:
    async def story() -> Any:
        async with (
            client_of(shop.objects) as handlers,
            mirrored(shop.file, shop.processes, shop.cases, handlers, clock=shop.objects.clock) as engine,
            httpx.AsyncClient(
                transport=httpx.ASGITransport(create_app(engine, LocalAccess("ada", "a token"), pages())), base_url="http://127.0.0.1"
            ) as client,
        ):
            asked = {"process": "orders", "state": {"item": "tea"}, "key": "one", "correlation": "ada"}
            started = (await client.post("/api/v1/cases", json=asked)).json()
            again = (await client.post("/api/v1/cases", json=asked)).json()
            return started, again, (await engine.case(started["case"])).correlation

    started, again, correlation = asyncio.run(story())

    assert (started["duplicate"], again) == (False, {**started, "duplicate": True})
    assert correlation == "ada"


def test_the_pages_are_not_ready_while_restate_takes_no_calls(shop: Shop) -> None:
    async def ready(handlers: RestateClient) -> tuple[int, str]:
        async with (
            mirrored(shop.file, shop.processes, shop.cases, handlers, clock=shop.objects.clock) as engine,
            httpx.AsyncClient(
                transport=httpx.ASGITransport(create_app(engine, LocalAccess("ada", "a token"))), base_url="http://127.0.0.1"
            ) as client,
        ):
            answer = await client.get("/ready")
            return answer.status_code, answer.text

    there = asyncio.run(ready(client_that(lambda _: httpx.Response(200, json={"services": []}))))
    away, why = asyncio.run(ready(client_that(raises(httpx.ConnectError("")))))

    assert (there, away) == ((200, '{"status":"ready"}'), 503)
    assert "no Restate server takes calls at http://restate.test; start it" in why
