"""The command that erases what the desk keeps of a person."""

import asyncio
import json
from typing import Annotated, Any

import typer

from pointsman import SystemClock, format_count
from pointsman_desk.cli.deciding import at_a_terminal
from pointsman_desk.cli.options import By, Config, Json, said
from pointsman_desk.cli.session import carry_out, exit_with, or_exit, who
from pointsman_desk.cli.terminal import complain, console, safe
from pointsman_desk.commands import Done, ErasePerson
from pointsman_desk.config import DeskConfig, load_config
from pointsman_desk.folder import reader_of
from pointsman_desk.mail.automatic import plain
from pointsman_desk.mail.compose import is_address
from pointsman_desk.persons import OfPerson, of_person

OTHERS_MAX = 20  # numbers on a line
DAY_SECONDS = 86_400.0  # for so long a raw mail is kept that no case refers to


def erase(
    person: Annotated[str, typer.Option("--person", metavar="ADDRESS", help="The person's mail address.")],
    why: Annotated[str, typer.Option(help="Why, without naming the person: the reason stays.", callback=said)],
    yes: Annotated[bool, typer.Option("--yes", help="Erase without a question; for scripts.")] = False,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Erase a person's mails, attachments, drafts and replies, after saying what that is and asking. Steps and times stay."""
    settings = or_exit(lambda: load_config(config))
    address = person.strip().lower()
    if not is_address(address):
        exit_with(f"{person!r} is not a single plain address such as jane@customer.example; correct it.")
    if plain(address) == plain(settings.address):
        exit_with(f"{address} is the desk's own address, which is in every case; give the customer's.")
    if address in why.lower():
        exit_with("--why names the person, and the reason stays; leave the address out.")
    found = or_exit(lambda: asyncio.run(_look(settings, address)))
    if not as_json:
        _print(settings, found)
    done = None
    if yes or (found.ready and not as_json and at_a_terminal() and typer.confirm("\nErase this? Nobody can bring it back.")):
        done = carry_out(settings, or_exit(lambda: ErasePerson(cases=found.ready, why=why, by=who(by))))
    if as_json:
        print(json.dumps(_json(found, done), ensure_ascii=False, indent=1))
    elif done is not None:
        console.print(f"Erased: the content of {format_count(len(done.cases), 'case')}, and {format_count(done.raw_mails, 'raw mail')}.")
        if any(one.row.updated_at > SystemClock().now() - DAY_SECONDS for one in found.cases):
            console.print("Raw mails that came within the last day stay for a day: call this command once more tomorrow, with --yes.")
    elif found.ready:
        console.print("Nothing was erased; add --yes to erase it.")
    for left in () if done is None else done.left:
        complain(left)
    if found.open or (done is not None and done.left):
        raise SystemExit(1)


async def _look(settings: DeskConfig, address: str) -> OfPerson:
    async with reader_of(settings) as reader:
        return await of_person(reader, address)


def _print(settings: DeskConfig, found: OfPerson) -> None:
    """Print what would be erased, what must be done first, and what stays."""
    if not found.cases:
        console.print("The desk keeps no case of this person.")
    if found.ready:
        console.print(f"To erase: the mails, attachments, drafts and replies of {format_count(len(found.ready), 'case')}.")
    for one in found.cases:
        if not one.first:
            console.print(f"  case {one.row.id}, {one.row.status}: {safe(one.subject or '(no subject)')}")
    if found.open:
        console.print(f"To do first, in {format_count(len(found.open), 'case')}; then call this command again:")
    for one in found.open:
        console.print(f"  case {one.row.id}: {one.first}")
    if found.others:
        more = f" and {len(found.others) - OTHERS_MAX} more" if len(found.others) > OTHERS_MAX else ""
        numbers = ", ".join(map(str, found.others[:OTHERS_MAX]))
        console.print(f"Other people's cases name the address, and stay: {numbers}{more}.")
    console.print(f"Not covered: {safe(', '.join(_elsewhere(settings)))}, and backups. After a restore, call this command again.")


def _elsewhere(settings: DeskConfig) -> list[str]:
    """Return where else the person's mails and data are."""
    mailboxes = [*([] if settings.mailbox is None else [settings.mailbox]), *(account.place for account in settings.mailboxes)]
    way_out = [] if settings.smtp or settings.resend else [f"the replies in {settings.outbox}"]
    archive = ["the archive of replies"] if settings.smtp is not None and settings.smtp.archive is not None else []
    return [*(f"the mailbox {place}" for place in mailboxes), *way_out, *archive, "the shop's orders"]


def _json(found: OfPerson, done: Done | None) -> dict[str, Any]:
    return {
        "cases": found.ready,
        "open": [{"case": one.row.id, "first": one.first} for one in found.open],
        "others": found.others,
        "erased": [] if done is None else done.cases,
        "left": [] if done is None else done.left,
        "raw_mails": 0 if done is None else done.raw_mails,
    }
