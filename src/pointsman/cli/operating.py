"""The commands that change something: each goes through the program that has the file open, or opens the database itself."""

import asyncio
import getpass
import json
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar

import typer

from pointsman.cli.given import assigned, parsed
from pointsman.cli.places import database, load_processes, load_resources, open_reader, options_again
from pointsman.cli.subscribing import NotInstalled
from pointsman.cli.terminal import NUMBER_MAX, App, CaseNumber, Db, Json, Resources, console, escape, exit_with, or_exit, print_json
from pointsman.definition.counts import format_count
from pointsman.errors import PointsmanError, Refused, StoreError
from pointsman.operations.decided import answered_alike, decided_since, last_event
from pointsman.operations.history import history_of, step_text
from pointsman.store.sqlite_file import refuse_mirror
from pointsman.store.sqlite_reader import SqliteReader

if TYPE_CHECKING:
    from pointsman.client import AsyncClient
    from pointsman.client.schemas import CaseView, PersonErasedView

T = TypeVar("T")
P = ParamSpec("P")

KEY_BYTES = 16  # as many as a UUID has, so that no two keys are the same
MOVING = {"ready", "running"}

By = Annotated[str | None, typer.Option("--by", help="Who decides (default: your login name).", show_default=False)]
Why = Annotated[str, typer.Option("--why", help="Why; the events of the case keep it.")]
Key = Annotated[str | None, typer.Option("--key", help="A second call with the same key changes nothing.", show_default=False)]
Tenant = Annotated[str, typer.Option("--tenant", help="The tenant.")]
Priority = Annotated[int, typer.Option("--priority", help="Cases with a higher priority run first.")]
ProcessName = Annotated[str, typer.Argument(metavar="PROCESS", help="The name of the process.")]


@dataclass(frozen=True)
class At:
    """What the options of every command say: the database, the code for it, who decides, and how to print."""

    db: str | None
    app: str | None
    resources: str | None
    by: str | None
    as_json: bool

    @property
    def place(self) -> Path | str:
        """The file of the database, or its URL. Raises PlaceUnknown."""
        return database(self.db)

    @property
    def again(self) -> str:
        """The options that say where the cases and the code are, for a command that follows: as they were given, without a password."""
        return options_again(db=self.db, app=self.app, resources=self.resources)


def _options(by: By = None, db: Db = None, app: App = None, resources: Resources = None, as_json: Json = False) -> None:
    """The options of every command."""


def on_database(body: Callable[Concatenate[At, P], None]) -> Callable[..., None]:
    """Return a command with the parameters of `body` and the options of every command, which `body` gets as one value."""
    own, shared = [*signature(body).parameters.values()][1:], [*signature(_options).parameters.values()]

    def command(**given: Any) -> None:
        body(At(**{option.name: given.pop(option.name) for option in shared}), **given)  # type: ignore[call-arg]

    command.__name__, command.__doc__ = body.__name__, body.__doc__
    command.__signature__ = Signature([*own, *shared])  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *shared)}
    return command


@on_database
def start(
    at: At,
    process: ProcessName,
    state: Annotated[str, typer.Argument(metavar="STATE", help="The inputs, as a JSON object.")] = "{}",
    key: Key = None,
    correlation: Annotated[str | None, typer.Option(help="The correlation key of its messages.", show_default=False)] = None,
    tenant: Tenant = "",
    priority: Priority = 0,
) -> None:
    """Start a case."""
    inputs = or_exit(lambda: parsed("STATE", state))
    named = key or random.SystemRandom().randbytes(KEY_BYTES).hex()  # so that a start whose answer is lost is not repeated

    async def call(client: "AsyncClient", _: bool) -> Any:
        return await client.start(process, inputs, key=named, correlation=correlation, tenant=tenant, priority=priority)

    started = reached(at, call, creates=True)
    if at.as_json:
        print_json(started.model_dump())
    else:
        print(f"case {started.case} {'had been started with this key before' if started.duplicate else 'is started'}.")


@on_database
def send(
    at: At,
    process: ProcessName,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="The message, as JSON.")],
    name: Annotated[str | None, typer.Option(help="The name of the message, if the process accepts several.", show_default=False)] = None,
    key: Key = None,
    tenant: Tenant = "",
    priority: Priority = 0,
) -> None:
    """Deliver a message to the open case with its correlation key, or start a case with it."""
    value = or_exit(lambda: parsed("MESSAGE", message))

    async def call(client: "AsyncClient", again: bool) -> Any:
        if again and key is None:
            raise StoreError("the program ended while it took the message, and may have taken it; look at `pointsman events`. Use --key.")
        return await client.send(process, value, name=name, key=key, tenant=tenant, priority=priority)

    delivered = reached(at, call, creates=True)
    if at.as_json:
        print_json(delivered.model_dump())
    else:
        print(f"the message is {delivered.how}{'' if delivered.case is None else f' (case {delivered.case})'}.")


@on_database
def answer(
    at: At,
    case: CaseNumber,
    given: Annotated[str | None, typer.Argument(metavar="[ANSWER]", help="The answer, as JSON.", show_default=False)] = None,
    digest: Annotated[
        str | None, typer.Option("--digest", help="What you answer to; `pointsman answer CASE` prints it.", show_default=False)
    ] = None,
    edits: Annotated[
        list[str] | None, typer.Option("--edit", metavar="FIELD=VALUE", help="A new value of a shown field: JSON, or a plain word.")
    ] = None,
) -> None:
    """Answer the pause of a case. Without an answer, show what is asked, and the command to answer with."""
    if given is None:
        task = reached(at, lambda client, _: client.task(case))
        _print_task(at, task.model_dump(mode="json"))
        return
    if digest is None:
        or_exit(lambda: asyncio.run(_must_exist(at, case)))
        exit_with(f"say with --digest what you answer to; `pointsman answer {case}{at.again}` prints the whole command.")
    value, rewritten, who = or_exit(lambda: (parsed("ANSWER", given), assigned(edits), caller(at.by)))

    async def call(client: "AsyncClient", _: bool) -> "CaseView | None":
        async with open_reader(at.place) as reader:
            if answered_alike(await history_of(reader, case), digest, who, value, rewritten):
                return None
        return await client.answer(case, digest, value, edits=rewritten, by=who)

    _print_case(at, case, reached(at, call))


async def _must_exist(at: At, case: int) -> None:
    """Look a case up. Raises UnknownCase."""
    async with open_reader(at.place) as reader:
        await history_of(reader, case)


@on_database
def assign(
    at: At,
    case: CaseNumber,
    to: Annotated[str, typer.Option("--to", help='Who answers; "" is nobody in particular.')],
    note: Annotated[str, typer.Option("--note", help="Why; the events of the case keep it.")] = "",
) -> None:
    """Ask somebody else to answer the pause of a case."""
    said = f"case {case} waits for {to.strip() or 'anybody'}."
    _decide(at, case, lambda client, who: client.assign(case, to, note=note, by=who), said=said)


@on_database
def redrive(
    at: At,
    case: CaseNumber,
    why: Why,
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Correct a field first, with JSON or a plain word; null takes an answer back."),
    ] = None,
) -> None:
    """Return a parked case to the backlog, or correct one that waits (with --set)."""
    corrected = or_exit(lambda: assigned(fields))
    _decide(at, case, lambda client, who: client.redrive(case, why=why, fields=corrected, by=who))


@on_database
def cancel(at: At, case: CaseNumber, why: Why) -> None:
    """Cancel a case. A running step ends first, and its result is kept."""
    _decide(at, case, lambda client, who: client.cancel(case, why=why, by=who))


@on_database
def erase(
    at: At,
    why: Why,
    case: Annotated[
        int | None, typer.Argument(metavar="[CASE]", min=1, max=NUMBER_MAX, help="The number of the case.", show_default=False)
    ] = None,
    person: Annotated[
        str | None,
        typer.Option(
            "--person",
            metavar="ADDRESS",
            help="Instead of a case: all cases that a searchable field finds by exactly this value.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --person: erase, and do not only say which cases.")] = False,
) -> None:
    """Delete the content of a case, or of all cases of a person. Steps, names and times stay."""
    if (case is None) == (person is None):
        exit_with("name a case, or a person with --person ADDRESS.")
    if person is not None:
        erased = reached(at, lambda client, _: client.erase_person(person, why=why, dry_run=not yes, by=caller(at.by)))
        print_person_erased(erased, as_json=at.as_json)
    elif case is not None:
        _decide(at, case, lambda client, who: client.erase(case, why=why, by=who), said=f"the content of case {case} is erased.")


def print_person_erased(erased: "PersonErasedView", *, as_json: bool) -> None:
    """Print what became of the cases of a person, without the person. Exits with 1 if a case was left as it is."""
    if as_json:
        print_json(erased.model_dump())
    else:
        named = f" ({', '.join(map(str, erased.cases))})" if erased.cases else ""
        blobs = f", and {format_count(erased.blobs, 'blob')} deleted" if erased.blobs else ""
        print(
            f"{format_count(len(erased.cases), 'case')}{named} {'would be erased; add --yes to erase them' if erased.dry_run else 'erased'}{blobs}."
        )
        for refused in erased.refused:
            print(f"  left as it is: {refused.why}")
        if erased.not_searched:
            print(f"  not searched: cases of {', '.join(erased.not_searched)}; name their process with --app, too.")
    if erased.refused:
        raise SystemExit(1)


@on_database
def resolve(
    at: At,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key of the effect in doubt.")],
    why: Why,
    happened: Annotated[bool, typer.Option("--happened/--call-again", help="Whether it happened, or must be called again.")],
    outcome: Annotated[str, typer.Option(help="What the effect would have returned, as JSON.")] = "null",
    attempts: Annotated[int | None, typer.Option(help="The number of calls when you looked.", show_default=False)] = None,
) -> None:
    """Say whether an effect in doubt happened."""
    value = or_exit(lambda: parsed("--outcome", outcome))

    async def case_of() -> int:
        async with open_reader(at.place) as reader:
            effect = await reader.effect(key)
            if effect is None:
                raise Refused(f"no effect has the key {key}; `pointsman show CASE --json` lists the keys of a case.")
            return effect.case

    def said(client: "AsyncClient", who: str) -> Awaitable["CaseView"]:
        return client.resolve(key, happened=happened, why=why, outcome=value, expected_attempts=attempts, by=who)

    _decide(at, or_exit(lambda: asyncio.run(case_of())), said)


@on_database
def pause_intake(at: At, why: Annotated[str, typer.Option("--why", help="Why; whoever is refused reads it.")]) -> None:
    """Refuse new cases until `resume-intake`, also after a restart."""
    who = or_exit(lambda: caller(at.by))
    paused = reached(at, lambda client, _: client.pause_intake(why=why, by=who))
    if at.as_json:
        print_json(paused.model_dump())
        return
    print(f"the intake is paused: no case is started; take starts again with `pointsman resume-intake{at.again}`.")


@on_database
def resume_intake(at: At) -> None:
    """Take new cases again."""
    resumed = reached(at, lambda client, _: client.resume_intake())
    if at.as_json:
        print_json(resumed.model_dump())
        return
    print("the intake takes new cases.")


def vacuum_through(file: Path) -> bool:
    """Apply retention and shrink the file through the running program. Returns False if there is none."""
    from pointsman.client import AsyncClient  # noqa: PLC0415 - an extra
    from pointsman.client.running import find_running  # noqa: PLC0415

    address = find_running(file)
    if address is None:
        return False

    async def call() -> None:
        async with AsyncClient(address.url, token=address.token) as client:
            print_vacuumed(**(await client.vacuum()).model_dump())

    asyncio.run(call())
    return True


def print_vacuumed(cases: int, blobs: int, size: int) -> None:
    """Print what a vacuum has deleted."""
    print(f"Deleted {format_count(cases, 'case')} and {format_count(blobs, 'blob')}; the file is {size:,} bytes smaller.")


def _decide(at: At, case: int, call: Callable[["AsyncClient", str], Awaitable["CaseView"]], *, said: str | None = None) -> None:
    """Make an operator's call on a case, and print `said`, or where the case stands then.

    A call whose answer was lost is repeated only if the case does not show it.
    """

    async def before() -> str:
        async with open_reader(at.place) as reader:
            return await last_event(reader, case)

    who, after = or_exit(lambda: (caller(at.by), asyncio.run(before())))

    async def through(client: "AsyncClient", again: bool) -> "CaseView | None":
        if again:
            async with open_reader(at.place) as reader:
                if await decided_since(reader, case, who, after):
                    return None
        return await call(client, who)

    _print_case(at, case, reached(at, through), said)


def reached(at: At, call: Callable[["AsyncClient", bool], Awaitable[T]], *, creates: bool = False) -> T:
    """Make a call through the program that has the file open, or alone."""

    async def body() -> T:
        try:
            from pointsman.client.running import reach  # noqa: PLC0415 - an extra
        except ImportError:
            raise NotInstalled("this command needs more packages; install them with `pip install 'pointsman[web]'`.") from None
        place = at.place
        if not isinstance(place, Path):
            async with _alone(at) as client:
                return await call(client, False)
        if not creates:
            SqliteReader(place).shut()  # look at the file before anything changes it
        return await reach(place, call, lambda: _alone(at), call, notice=_notice)

    try:
        result: T = or_exit(lambda: asyncio.run(body()))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    return result


@asynccontextmanager
async def _alone(at: At) -> AsyncIterator["AsyncClient"]:
    """Open the engine for one call, and speak to it in this process as to a program that runs.

    In a database that engines share it runs no case: the workers do, with their code and their resources.
    """
    import httpx  # noqa: PLC0415 - an extra

    from pointsman.client import AsyncClient  # noqa: PLC0415
    from pointsman.runtime.engine import GRACE_SECONDS, Engine  # noqa: PLC0415
    from pointsman.server.access import LocalAccess  # noqa: PLC0415
    from pointsman.server.accounts import record  # noqa: PLC0415
    from pointsman.server.app import create_app  # noqa: PLC0415

    token = random.SystemRandom().randbytes(KEY_BYTES).hex()
    place = at.place
    if isinstance(place, Path):
        refuse_mirror(place)  # before the code is asked for, which would not help
    processes = load_processes(at.app)
    settings = {"resources": load_resources(at.resources)} if isinstance(place, Path) else {"concurrency": 0}

    def recorded(who: str, did: str, about: dict[str, Any]) -> None:
        record(place, who, did, about, engine.clock.now())

    async with Engine.open(place, processes, **settings) as engine:
        transport = httpx.ASGITransport(create_app(engine, LocalAccess(_login(), token), record=recorded))
        async with AsyncClient("http://127.0.0.1", token=token, transport=transport) as client:
            yield client
        if not isinstance(place, Path):
            return
        with suppress(TimeoutError):  # no program continues what the command has begun
            async with asyncio.timeout(GRACE_SECONDS):
                await engine.idle(horizon_seconds=0.0)


def _notice(problem: Exception) -> None:
    print(f"pointsman: waiting for the database; press Ctrl-C to give up: {problem}", file=sys.stderr)


def caller(by: str | None) -> str:
    """Who decides. Raises PointsmanError if nobody is named and the login name is unknown."""
    if not (who := by or _login()):
        raise PointsmanError("your login name is unknown; say who decides with --by NAME.")
    return who


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _print_task(at: At, task: dict[str, Any]) -> None:
    if at.as_json:
        print_json(task)
        return
    console.print(f"[bold]case {task['case']}[/] of {escape(task['process'])} waits at {escape(task['pause'])}:")
    for name, value in (task["shown"] | task["beside"]).items():
        console.print(f"  {escape(name)} = {escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}")
    console.print(f"Answer with JSON of this schema: {escape(json.dumps(task['answer_schema'], ensure_ascii=False))}")
    console.print(f"pointsman answer {task['case']} ANSWER --digest {task['digest']}{at.again}", markup=False, soft_wrap=True)


def _print_case(at: At, case: int, view: "CaseView | None", said: str | None = None) -> None:
    """Print `said`, or where a case stands after a call; None as `view` stands for a call that had been made before."""

    async def look() -> dict[str, Any]:
        async with open_reader(at.place) as reader:
            return (await history_of(reader, case)).case._asdict()

    row = or_exit(lambda: asyncio.run(look())) if view is None else view.model_dump()
    if at.as_json:
        print_json({"case": case, **{name: value for name, value in row.items() if name != "id"}})
        return
    if said is not None:
        print(said)
        return
    note = "" if view is not None else " (you had decided so before)"
    more = row["reason"] or row["outcome"] or step_text(row["step"], row["rule"])
    console.print(f"case {case} is {escape(row['status'])}{escape(f', {more}' if more else '')}{note}.")
