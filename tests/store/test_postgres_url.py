"""`Engine.open` with the URL of a PostgreSQL database."""

import asyncio
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest
from psycopg import AsyncConnection
from typer.testing import CliRunner

from pointsman import Engine, StoreAway, StoreError
from pointsman.cli.main import app
from pointsman.store.postgres import is_url
from pointsman.store.postgres.connections import Connections, place_of
from pointsman.store.statements import migrations
from postgres_server import Server

WITHOUT_PSYCOPG = """
import asyncio, sys
sys.modules["psycopg"] = None
from pointsman import Engine, StoreError
async def main():
    async with Engine.open("postgresql://app@127.0.0.1/shop", []):
        pass
try:
    asyncio.run(main())
except StoreError as error:
    print(error)
"""


def test_without_psycopg_the_error_names_the_extra_and_the_rest_can_be_imported() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_PSYCOPG], capture_output=True, text=True, check=True)
    assert "pip install 'pointsman[postgres]'" in done.stdout


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("postgresql://h/d", True),
        ("postgres://h/d", True),
        ("postgresql+psycopg://h/d", True),
        (" postgresql://h/d", True),
        ("sqlite:///x", True),
        ("host=h password=secret", True),
        ("postgres.db", False),
        ("a/b.db", False),
        ("C:/x.db", False),
    ],
)
def test_a_url_is_told_from_a_file(path: str, expected: bool) -> None:
    assert is_url(path) == expected


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    async def main() -> None:
        async with Engine.open("postgresql://app:secret@127.0.0.1:1/shop", []):
            pass

    with pytest.raises(StoreError, match="check the host and the port in the URL, and that the server runs") as caught:
        asyncio.run(main())
    assert "secret" not in str(caught.value)


def test_a_server_that_refuses_a_connection_is_told_from_one_that_takes_it_later(postgres: Server, postgres_url: str) -> None:
    async def refused(url: str) -> StoreError:
        with pytest.raises(StoreError) as caught:
            async with Engine.open(url, []):
                pass
        return caught.value

    postgres.execute("DROP ROLE IF EXISTS full_up")
    postgres.execute("CREATE ROLE full_up LOGIN CONNECTION LIMIT 0")
    url = urlsplit(postgres_url)
    host = url.netloc.rpartition("@")[2]

    full = asyncio.run(refused(url._replace(netloc=f"full_up@{host}").geturl()))
    wrong = asyncio.run(refused(url._replace(netloc=f"nobody_at_all@{host}").geturl()))

    assert isinstance(full, StoreAway)
    assert "raise max_connections" in str(full)
    assert not isinstance(wrong, StoreAway)
    assert "check the names in the URL, and the password" in str(wrong)


def test_engines_open_one_database_one_after_another_and_at_once(postgres_url: str) -> None:
    async def main() -> None:
        async with Engine.open(postgres_url, []) as one, Engine.open(postgres_url, []) as two:
            assert await one.reader.count_places() == await two.reader.count_places() == []
        async with Engine.open(postgres_url, []) as again:
            assert await again.reader.count_places() == []

    asyncio.run(main())


def pointsman(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


def test_the_command_tells_what_is_missing_runs_it_and_can_be_run_again(postgres_url: str) -> None:
    count = len(migrations("postgres"))
    for _ in range(2):
        code, told = pointsman("migrate", postgres_url, "--dry-run")
        assert (code, told.splitlines()[-1]) == (0, f"migrations: {count} missing; nothing was changed")
        assert told.startswith("0001 The tables of a PostgreSQL store\n")
    assert pointsman("migrate", postgres_url)[1].endswith(f"migrations: {count} done\n")
    assert pointsman("migrate", postgres_url) == (0, "migrations: none is missing\n")


def test_the_command_refuses_what_it_cannot_migrate_in_one_sentence() -> None:
    code, told = pointsman("migrate", "cases.db")
    assert (code, told.count("\n")) == (1, 1)
    code, told = pointsman("migrate")
    assert (code, told.count("\n"), "--db" in told) == (1, 1, False), "it has no such option"
    code, told = pointsman("migrate", "postgresql://app:secret@127.0.0.1:1/shop")
    assert (code, told.count("\n"), "secret" in told) == (1, 1, False)


def test_a_connection_whose_set_up_is_cancelled_is_closed(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        begun: asyncio.Queue[AsyncConnection[Any]] = asyncio.Queue()

        async def never_ends(connection: AsyncConnection[Any], *_: object) -> None:
            begun.put_nowait(connection)
            await asyncio.Event().wait()

        monkeypatch.setattr(AsyncConnection, "execute", never_ends)
        connecting = asyncio.create_task(Connections(place_of(postgres_url)).connect())
        connection = await begun.get()
        connecting.cancel()
        await asyncio.wait([connecting])
        assert connection.closed

    asyncio.run(main())
