"""The pointsman-desk command: work off the mailbox, and decide on the replies that wait."""

import asyncio
import getpass
import io
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

from pointsman import PointsmanError
from pointsman_desk.errors import DeskError

try:
    import rich  # noqa: F401 - the command cannot do without it
    import typer
except ImportError:
    print(
        "pointsman-desk: the command needs Typer and Rich; install them with `pip install 'pointsman[desk]'`.",
        file=sys.stderr,
    )
    raise SystemExit(2) from None

from pointsman import CaseRow, Status, StoreLocked, SystemClock, history_of, open_cases
from pointsman_desk import desk as at_desk
from pointsman_desk.cli.display import (
    case_json,
    mailbox_json,
    print_case,
    print_cases,
    print_decision,
    print_draft,
    print_mailboxes,
    print_run,
    print_survey,
    run_json,
)
from pointsman_desk.cli.figures import figures_json, print_figures
from pointsman_desk.cli.terminal import complain, errors, safe
from pointsman_desk.config import DeskConfig, load_config
from pointsman_desk.evaluation.asking import OFFLINE, ask, model_named, sample_facts
from pointsman_desk.evaluation.data import read_labelled, read_meanings
from pointsman_desk.evaluation.labelled import own_set, sample_of
from pointsman_desk.evaluation.measures import Figures, measure
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.bookmark import Bookmark
from pointsman_desk.mail.sources.places import mails_at
from pointsman_desk.mail.survey import Survey, survey
from pointsman_desk.wiring import Desk, mailboxes_of, open_desk, serving

LOCKED_SECONDS = 10.0  # what a person waits for another one's decision to be written down
RETRY_SECONDS = 0.2  # how soon the next try is worth it
WATCH_SECONDS = 5.0  # how often a watched folder is looked at: soon enough for mail

T = TypeVar("T")
app = typer.Typer(
    help="A customer-service mail desk: mails are answered from facts, or wait for you.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[
    Path | None,
    typer.Option("--config", help="The configuration; desk.toml in this folder where it is there.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CASE_MAX = 2**63 - 1  # the largest number that a database holds
CaseNumber = Annotated[int, typer.Argument(metavar="CASE", min=1, max=CASE_MAX, help="The case's number.")]
HELD = {Status.WAITING, Status.PARKED, Status.READY}
Seen = Annotated[
    str | None,
    typer.Option("--seen", help="The digest of the draft that you looked at, as `show` prints it.", show_default=False),
]
By = Annotated[str | None, typer.Option("--by", help="Who decides; your login name.", show_default=False)]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"pointsman-desk {version('pointsman')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")] = False,
) -> None:
    """What all commands share."""


@app.command()
def run(
    mailbox: Annotated[Path | None, typer.Option(help="A maildir or a folder of .eml files.", show_default=False)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take in the mails of the mailbox and answer what may be answered without a person."""
    settings = _or_exit(lambda: load_config(config))
    if mailbox is not None:
        settings = settings.model_copy(update={"mailbox": mailbox.absolute(), "mailboxes": (), "http": None})
    arrivals = Arrivals()

    async def sweep(desk: Desk, stop: asyncio.Event) -> None:
        await _take_in(desk, stop, None, arrivals, as_json=as_json, watched=watch)

    _with_desk(settings, sweep, again_seconds=WATCH_SECONDS if watch else None, arrivals=arrivals)


@app.command()
def mailboxes(config: Config = None, as_json: Json = False) -> None:
    """Show how the mailboxes on mail servers do: when they were looked into last, what is still to come, and what is wrong."""
    settings = _or_exit(lambda: load_config(config))
    known = [(account, Bookmark.read(settings.bookmark_of(account), account.place)) for account in settings.mailboxes]
    now = SystemClock().now()
    if as_json:
        print(json.dumps([mailbox_json(account, bookmark, now) for account, bookmark in known], ensure_ascii=False, indent=1))
    elif not known:
        print("No mailbox on a mail server is configured; name one with [[mailboxes]] in desk.toml.")
    else:
        print_mailboxes(known, now)


@app.command()
def ingest(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Mails, mboxes, maildirs and folders; - for standard input.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only read the mails and count what is odd about them; start no case.")
    ] = False,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --dry-run one line.")] = False,
) -> None:
    """Take in mails from anywhere, or only look what reading them gives."""
    settings = _or_exit(lambda: load_config(config))
    mails = _or_exit(lambda: mails_at(paths, sys.stdin.buffer))
    if not dry_run:
        _with_desk(settings, lambda desk, stop: _take_in(desk, stop, mails, None, as_json=as_json, watched=False), patient=True)
        return

    def look() -> Survey:
        with errors.status("Reading") as status:
            return survey(mails, time.perf_counter, lambda name: status.update(f"Reading {safe(name)}"))

    found = _or_exit(look)
    for problem in found.problems:
        complain(problem)
    if as_json:
        print(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        print_survey(found)


async def _take_in(
    desk: Desk, stop: asyncio.Event, mails: Iterable[Found] | None, arrivals: Arrivals | None, *, as_json: bool, watched: bool
) -> None:
    """Take in `mails`, or the mailbox's and those of `arrivals`, and tell what became of them."""
    with errors.status("Looking into the mailbox") as status:
        done = await at_desk.work_off(desk, lambda name: status.update(f"Taking in {safe(name)}"), stop, mails, arrivals)
    rows = await desk.engine.reader.cases(limit=at_desk.CASES_MAX)
    if as_json:
        print(json.dumps(run_json(done, rows), ensure_ascii=False, indent=None if watched else 1))
    elif done.started or done.joined or not watched:
        told = {*done.started, *done.joined} | {row.id for row in rows if row.status in HELD}
        shown = [await case_json(desk.engine.reader, row) for row in rows if row.id in told]
        print_run(done, shown, rows, desk.config, ", then ".join(model.name for model in desk.models))
    if done.problems and not watched:
        raise DeskError("; ".join(done.problems))
    for problem in done.problems:
        complain(problem)


@app.command()
def cases(
    status: Annotated[Status | None, typer.Option(help="Only cases in this status.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the cases: what was answered, what waits for a person, and why."""
    settings = _or_exit(lambda: load_config(config))

    async def look() -> list[dict[str, Any]]:
        with open_cases(settings.database) as reader:
            return [await case_json(reader, row) for row in await reader.cases(status=status, limit=at_desk.CASES_MAX)]

    found = _or_exit(lambda: asyncio.run(look()))
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
    elif not found:
        print(f"No case is {status}." if status is not None else "There are no cases; `pointsman-desk run` takes in the mailbox.")
    else:
        print_cases(found)


@app.command()
def show(case: CaseNumber, config: Config = None, as_json: Json = False) -> None:
    """Show a case: the mail, what the desk made of it, and the draft that waits."""
    settings = _or_exit(lambda: load_config(config))

    async def look() -> Any:
        with open_cases(settings.database) as reader:
            return await history_of(reader, case), await at_desk.later_cases(settings, reader, case)

    history, later = _or_exit(lambda: asyncio.run(look()))
    if as_json:
        print(json.dumps(history.as_json() | {"later": later}, ensure_ascii=False, indent=1))
    else:
        print_case(history, later)


@app.command()
def approve(
    case: CaseNumber,
    seen: Seen = None,
    by: By = None,
    despite_violations: Annotated[bool, typer.Option("--despite-violations", help="Send it although it breaks a rule.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Send the draft of a case as it is."""
    _decide(
        config,
        lambda desk: at_desk.approve(desk, case, by=_who(by), seen=seen, despite_violations=despite_violations),
        as_json=as_json,
    )


@app.command()
def edit(
    case: CaseNumber,
    text: Annotated[str | None, typer.Option(help="The new text of the reply.", show_default=False)] = None,
    file: Annotated[typer.FileText | None, typer.Option(help="A file with the new text; - for standard input.", show_default=False)] = None,
    send: Annotated[bool, typer.Option("--approve", help="Send it at once if it breaks no rule.")] = False,
    seen: Seen = None,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put another text in place of the draft; it is checked again and waits for approval."""
    if (text is None) == (file is None):
        _exit("give the new text with --text, or in a file with --file.")
    body = text if text is not None else _or_exit(lambda: _text_of(file))
    _decide(config, lambda desk: at_desk.edit(desk, case, by=_who(by), body=body, seen=seen, send=send), as_json=as_json)


@app.command()
def reject(
    case: CaseNumber,
    why: Annotated[str, typer.Option(help="Why the mail is not answered.")] = "",
    seen: Seen = None,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Do not answer this mail."""
    _decide(config, lambda desk: at_desk.reject(desk, case, by=_who(by), why=why, seen=seen), as_json=as_json)


@app.command()
def redrive(
    why: Annotated[str, typer.Option(help="What was mended.")],
    case: Annotated[
        int | None, typer.Argument(metavar="[CASE]", min=1, max=CASE_MAX, help="The case's number.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every parked case whose reply is not in doubt.")] = False,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put a parked case, or all of them, back into the line."""
    if (case is None) == (not everything):
        _exit("name the case, or say --all.")
    if case is not None:
        _decide(config, lambda desk: at_desk.redrive(desk, case, by=_who(by), why=why), as_json=as_json)
        return
    settings = _or_exit(lambda: load_config(config))

    async def work(desk: Desk, _: asyncio.Event) -> None:
        moved = [await case_json(desk.engine.reader, row) for row in await at_desk.redrive_all(desk, by=_who(by), why=why)]
        if as_json:
            print(json.dumps(moved, ensure_ascii=False, indent=1))
        elif moved:
            print_cases(moved)
        else:
            print("No case is parked whose reply is not in doubt.")

    _with_desk(settings, work, patient=True)


@app.command()
def cancel(
    case: CaseNumber,
    why: Annotated[str, typer.Option(help="Why it is closed.")],
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Close a case without an answer, wherever it stands."""
    _decide(config, lambda desk: at_desk.cancel(desk, case, by=_who(by), why=why), as_json=as_json)


@app.command()
def close(case: CaseNumber, by: By = None, config: Config = None, as_json: Json = False) -> None:
    """End a case that waits for the customer's answer."""
    _decide(config, lambda desk: at_desk.close(desk, case, by=_who(by)), as_json=as_json)


@app.command()
def resolve(
    case: CaseNumber,
    arrived: Annotated[bool, typer.Option("--arrived/--send-again", help="Did the reply arrive, or shall it be sent again?")],
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say whether a reply arrived whose sending was cut short."""
    _decide(config, lambda desk: at_desk.resolve(desk, case, by=_who(by), arrived=arrived), as_json=as_json)


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Option(help="The model, as desk.toml names it; or offline.")] = OFFLINE,
    data: Annotated[Path | None, typer.Option(help="Labelled mails: CSV, JSON, or a JSON object a line.", show_default=False)] = None,
    text: Annotated[str | None, typer.Option(help="The column of the text; text.", show_default=False)] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label; label.", show_default=False)] = None,
    subject: Annotated[str | None, typer.Option(help="The column of the subject, if there is one.", show_default=False)] = None,
    meanings: Annotated[Path | None, typer.Option("--map", help="What their labels mean: TOML, JSON or CSV.", show_default=False)] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="So many mails, by chance.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="What this chance begins with.")] = 7,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Mails in hand at once.")] = 4,
    drafts: Annotated[bool, typer.Option("--drafts", help="Ask for a draft of each reply, too, and check it.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Hold a model against mails whose meaning is known: the desk's own ones, or those of a file."""
    settings = _or_exit(lambda: load_config(config))
    if data is None and any(option is not None for option in (text, label, subject, meanings)):
        _exit("--text, --label, --subject and --map tell of a file with mails; name it with --data.")

    async def figures() -> Figures:
        asked_model = model_named(settings, model)
        mails = own_set() if data is None else read_labelled(
            data, text=text or "text", label=label or "label", subject=subject, meanings=read_meanings(meanings) if meanings else None
        )  # fmt: skip
        chosen = sample_of(mails, limit, seed)
        facts = await sample_facts(settings) if drafts else None
        with errors.status(f"Asking {safe(model)}") as status:
            asked = await ask(
                asked_model, chosen, concurrency=concurrency, facts=facts,
                told=lambda done: status.update(f"Asking {safe(model)}: {done} of {len(chosen)} mails"),
            )  # fmt: skip
        return measure(chosen, asked)

    found = _or_exit(lambda: asyncio.run(figures()))
    if as_json:
        print(json.dumps({"model": model} | figures_json(found), ensure_ascii=False, indent=1))
    else:
        print_figures(model, found)


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 still shows what it can
    app()


def _decide(config: Path | None, decision: Callable[[Desk], Awaitable[CaseRow]], *, as_json: bool) -> None:
    settings = _or_exit(lambda: load_config(config))

    async def work(desk: Desk, _: asyncio.Event) -> None:
        try:
            row = await decision(desk)
        except at_desk.DraftChanged as changed:
            if not as_json:
                print_draft(changed.pending)
            raise
        history = await history_of(desk.engine.reader, row.id)
        if as_json:
            print(json.dumps(history.as_json(), ensure_ascii=False, indent=1))
        else:
            print_decision(history, settings)
        if row.status in {Status.PARKED, Status.READY}:
            raise DeskError(f"case {row.id} has not come to its end.")

    _with_desk(settings, work, patient=True)


def _with_desk(
    settings: DeskConfig,
    work: Callable[[Desk, asyncio.Event], Awaitable[None]],
    *,
    patient: bool = False,
    again_seconds: float | None = None,
    arrivals: Arrivals | None = None,
) -> None:
    """Open the desk, work, and close it in order; Ctrl-C and SIGTERM end the work at a safe place.

    The database has one writer at a time: `patient` waits a while for another one to be done, and `again_seconds` works
    again after that time, with the desk open to others in between, or as soon as a mailbox hands something over to `arrivals`.
    """
    arrived = arrivals or Arrivals()

    async def body() -> bool:
        mailboxes = mailboxes_of(settings, arrived.trouble) if arrivals is not None else []
        if again_seconds is None:
            async with arrived.of(mailboxes, follow=False):
                return await in_turn()
        async with arrived.of(mailboxes, follow=True), serving(settings, arrived.hand_over):
            return await in_turn()

    async def in_turn() -> bool:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        until = loop.time() + (LOCKED_SECONDS if patient or again_seconds is not None else 0.0)
        while True:
            try:
                async with open_desk(settings) as desk:
                    await work(desk, stop)
            except StoreLocked:
                if loop.time() > until or stop.is_set():
                    raise
                await at_desk.either(stop.wait(), asyncio.sleep(RETRY_SECONDS))
                continue
            if again_seconds is None or stop.is_set():
                return stop.is_set()
            with errors.status("Watching the mailbox; Ctrl-C ends it"):
                await at_desk.either(stop.wait(), asyncio.sleep(again_seconds), arrived.news.wait())
            if stop.is_set():
                return True
            until = loop.time() + LOCKED_SECONDS

    if _or_exit(lambda: asyncio.run(body())):
        errors.print("pointsman-desk: stopped; what was begun is kept and goes on with the next run.")
        raise SystemExit(130)


def _who(by: str | None) -> str:
    try:
        return by or getpass.getuser()
    except (OSError, KeyError):
        raise DeskError("your login name is not known here; say who decides with --by NAME.") from None


def _text_of(file: Any) -> str:
    try:
        return str(file.read())
    except UnicodeDecodeError:
        raise DeskError(f"{file.name} is not UTF-8 text; save it as UTF-8.") from None


def _or_exit(body: Callable[[], T]) -> T:
    try:
        return body()
    except (DeskError, PointsmanError) as error:
        _exit(str(error))
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if not isinstance(first, DeskError | PointsmanError):
            raise
        _exit(str(first))
    except BrokenPipeError:
        raise SystemExit(0) from None
    except OSError as error:
        _exit(f"the output cannot be written ({error.strerror}).")


def _exit(message: str) -> NoReturn:
    complain(message)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
