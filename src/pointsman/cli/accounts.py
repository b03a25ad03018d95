"""`pointsman users`, `pointsman tokens` and `pointsman audit`: who may sign in and call, and what they did."""

import getpass
import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from pointsman.cli.places import database
from pointsman.cli.terminal import Db, Json, console, escape, exit_with
from pointsman.client.running import find_running
from pointsman.errors import PointsmanError
from pointsman.operations.times import format_time
from pointsman.runtime.clock import SystemClock
from pointsman.server.access import Role, Scope
from pointsman.server.accounts import Accounts, accounts_place
from pointsman.server.audit import sentence

users = typer.Typer(help="Add, list and remove the people who may sign in.", no_args_is_help=True, add_completion=False)
tokens = typer.Typer(help="Add, list and remove the tokens of programs.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(help="The name.")]


@users.command("add")
def add_user(
    name: Name,
    role: Annotated[Role, typer.Option(help="What the person may do; each role includes the ones before it.")],
    db: Db = None,
    elsewhere: Annotated[bool, typer.Option("--elsewhere", help="The person signs in at an identity provider or a proxy.")] = False,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")] = False,
) -> None:
    """Add a user, or change the role and the password of one. The user's sessions end."""
    with _accounts(db, creates=True) as accounts:
        password = None if elsewhere else _password(stdin=password_stdin)
        is_first = not accounts.users()
        accounts.put_user(name, role, password, SystemClock().now())
        _recorded(accounts, "put user", {"user": name, "role": role})
    print(f"{name} may sign in as {role}.")
    if is_first:
        _tell_first(database(db))


@users.command("list")
def list_users(db: Db = None, as_json: Json = False) -> None:
    """List the users and their roles."""
    with _accounts(db) as accounts:
        found = accounts.users()
    if as_json:
        print(json.dumps([user._asdict() for user in found], ensure_ascii=False, indent=1))
        return
    for user in found:
        print(f"{user.name}  {user.role}  since {format_time(user.created_at)}")
    if not found:
        print("There are no users; add one with `pointsman users add NAME --role admin`.")


@users.command("remove")
def remove_user(name: Name, db: Db = None) -> None:
    """Remove a user. The user's sessions end."""
    with _accounts(db) as accounts:
        accounts.remove_user(name)
        _recorded(accounts, "remove user", {"user": name})
    print(f"{name} may no longer sign in.")


@tokens.command("add")
def add_token(
    name: Name,
    scope: Annotated[list[Scope], typer.Option(help="What the program may do; give the option once for each scope.")],
    db: Db = None,
    days: Annotated[float | None, typer.Option(min=0, help="The days until it expires.", show_default="never")] = None,
) -> None:
    """Add a token for a program, and print it. It cannot be shown again."""
    with _accounts(db, creates=True) as accounts:
        secret = accounts.add_token(name, scope, SystemClock().now(), days=days)
        _recorded(accounts, "add token", {"token": name, "scopes": sorted(scope)})
    print(secret)


@tokens.command("list")
def list_tokens(db: Db = None, as_json: Json = False) -> None:
    """List the tokens by name, with their scopes. The tokens themselves are not stored."""
    with _accounts(db) as accounts:
        found = accounts.tokens()
    if as_json:
        print(json.dumps([{**token._asdict(), "scopes": sorted(token.scopes)} for token in found], ensure_ascii=False, indent=1))
        return
    for token in found:
        until = "for ever" if token.expires_at is None else f"until {format_time(token.expires_at)}"
        print(f"{token.name}  {', '.join(sorted(token.scopes))}  {until}")
    if not found:
        print("There are no tokens; add one with `pointsman tokens add NAME --scope read`.")


@tokens.command("remove")
def remove_token(name: Name, db: Db = None) -> None:
    """Remove a token; whoever has it may no longer call."""
    with _accounts(db) as accounts:
        accounts.remove_token(name)
        _recorded(accounts, "remove token", {"token": name})
    print(f"The token {name} is removed.")


def audit(
    db: Db = None,
    after: Annotated[int, typer.Option(min=0, help="Start after the entry with this number.")] = 0,
    verify: Annotated[bool, typer.Option("--verify", help="Check that no entry was changed or removed; exit with 1 if one was.")] = False,
    as_json: Json = False,
) -> None:
    """Print the audit log: who signed in, decided, operated and changed accounts. With --json, each entry is one line of JSON."""
    with _accounts(db) as accounts:
        broken = accounts.first_broken() if verify else None
        last = after
        while entries := accounts.entries(after=last):
            for entry in entries:
                last = entry.number
                if as_json:
                    print(json.dumps(entry._asdict(), ensure_ascii=False))
                else:
                    console.print(escape(f"{entry.number:>6} {format_time(entry.at)} {sentence(entry)}"))
        if verify and broken is None:
            print(f"Every entry up to {last} is as it was written, and none before it is missing.", file=sys.stderr)
    if broken is not None:
        exit_with(f"entry {broken} of the audit log was changed or removed after it was written.")


def _password(*, stdin: bool) -> str:
    if stdin:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        raise PointsmanError("there is no terminal to ask for the password; pass it with --password-stdin.")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def _tell_first(place: Path | str) -> None:
    if not isinstance(place, Path):
        print("From now on, each program that serves this database asks everybody to sign in.", file=sys.stderr)
    elif (running := find_running(place)) is not None:
        print(f"From now on, the program at {running.url}/ asks everybody to sign in.", file=sys.stderr)


@contextmanager
def _accounts(db: str | None, *, creates: bool = False) -> Iterator[Accounts]:
    try:
        accounts = Accounts(_place(database(db), creates=creates), random.SystemRandom())
        try:
            yield accounts
        finally:
            accounts.close()
    except (PointsmanError, OSError) as error:
        print(f"pointsman: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def _place(of: Path | str, *, creates: bool) -> Path | str:
    place = accounts_place(of)
    if isinstance(place, Path) and not creates and not place.exists():
        raise PointsmanError(f"{place} does not exist: no user was added yet, and the database was never served; is --db right?")
    return place


def _recorded(accounts: Accounts, did: str, about: dict[str, Any]) -> None:
    accounts.record(getpass.getuser(), did, about, SystemClock().now())
