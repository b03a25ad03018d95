"""The proxy and the server of the fault tests do what they are told: else the tests that use them would prove nothing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from postgres_proxy import Cut, Proxy
from postgres_server import Server


@pytest.fixture(name="proxy")
def _proxy(postgres: Server) -> Iterator[Proxy]:
    with Proxy(postgres.url) as proxy:
        yield proxy


@pytest.fixture(name="table")
def _table(postgres: Server) -> Iterator[str]:
    postgres.execute("CREATE TABLE public.faults (id integer)")
    yield "public.faults"
    postgres.execute("DROP TABLE public.faults")


def by_query(connection: psycopg.Connection, table: str) -> None:
    connection.execute(f"INSERT INTO {table} VALUES (1)".encode())
    connection.commit()


def by_pipeline(connection: psycopg.Connection, table: str) -> None:
    with connection.pipeline():
        for number in range(3):
            connection.execute(f"INSERT INTO {table} VALUES (%s)".encode(), (number,), prepare=True)
        connection.commit()


def by_statement(connection: psycopg.Connection, table: str) -> None:
    connection.autocommit = True
    with connection.pipeline():
        connection.execute(b"SELECT 1")
        connection.execute(f"WITH commits AS (INSERT INTO {table} VALUES (1) RETURNING 1) SELECT * FROM commits".encode(), prepare=True)


@pytest.mark.parametrize(("when", "kept"), [("before", False), ("after", True)])
@pytest.mark.parametrize("writes", [by_query, by_pipeline, by_statement])
def test_a_cut_at_a_commit_is_before_or_after_it(postgres: Server, proxy: Proxy, table: str, writes, when: Cut, kept: bool) -> None:
    cut = (lambda: proxy.cut_at("WITH commits", when)) if writes is by_statement else (lambda: proxy.cut_at_commit(when))
    connection = psycopg.connect(proxy.url)
    cut()
    with pytest.raises(psycopg.OperationalError):
        writes(connection, table)
    connection.close()
    assert proxy.cuts == 1
    assert (postgres.execute(f"SELECT count(*) FROM {table}")[0][0] > 0) == kept
    with psycopg.connect(proxy.url) as again:
        writes(again, table)
    assert proxy.cuts == 1


def test_a_text_that_contains_the_word_is_no_commit(postgres: Server, proxy: Proxy, table: str) -> None:
    proxy.cut_at_commit("before")
    with psycopg.connect(proxy.url, autocommit=True) as connection:
        assert connection.execute("SELECT 'COMMIT', CASE WHEN true THEN 1 END, %s", ("; COMMIT",)).fetchone() == ("COMMIT", 1, "; COMMIT")
    assert (proxy.cuts, proxy.commits) == (0, 0)


def test_cutting_everything_ends_all_connections(proxy: Proxy) -> None:
    connections = [psycopg.connect(proxy.url, autocommit=True) for _ in range(3)]
    assert proxy.connections == 3
    proxy.cut_all()
    for connection in connections:
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        connection.close()


def test_a_black_hole_takes_everything_and_answers_nothing(proxy: Proxy) -> None:
    with ThreadPoolExecutor() as threads, psycopg.connect(proxy.url, autocommit=True) as connection:
        proxy.swallow()
        asked = threads.submit(connection.execute, "SELECT 1")
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(proxy.url, connect_timeout=2)  # libpq's shortest
        assert not asked.done()
        proxy.let_through()
        assert asked.result().fetchone() == (1,)


def test_a_delayed_connection_still_answers(proxy: Proxy) -> None:
    proxy.delay(0.01)
    with psycopg.connect(proxy.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_an_immediate_restart_cuts_connections_and_keeps_what_was_committed(postgres: Server, proxy: Proxy, table: str) -> None:
    with psycopg.connect(postgres.url) as done:
        done.execute(f"INSERT INTO {table} VALUES (1)".encode())
    with closing(psycopg.connect(proxy.url)) as open_:
        open_.execute(f"INSERT INTO {table} VALUES (2)".encode())
        postgres.restart_immediately()
        with pytest.raises(psycopg.OperationalError):
            open_.commit()
    assert postgres.execute(f"SELECT id FROM {table}") == [(1,)]
