"""The client of cases on Restate: each of its errors is one sentence, of the class that its docstring names."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from math import inf, nan
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from objects_in_memory import Objects, client_of, client_that, raises
from orders import Outside, orders

from pointsman.client.restate import LARGE_BYTES
from pointsman.errors import AlreadyAnswered, InputInvalid, StoreAway, StoreError, UnknownCase
from pointsman.restate import RestateClient
from pointsman.restate.work import Work
from pointsman.testing.clock import ManualClock
from restate_server import Server

Use = Callable[[RestateClient], Awaitable[Any]]


def shop() -> Objects:
    objects = Objects(ManualClock())
    objects.serve(Work([orders()], {"outside": Outside()}, clock=objects.clock, random=Random(7)))
    return objects


async def error_of(client: RestateClient, use: Use) -> Exception:
    async with client:
        with pytest.raises(Exception) as told:
            await use(client)
    return told.value


@pytest.mark.parametrize(
    "use",
    [
        lambda cases: cases.show("orders", 7),
        lambda cases: cases.events("orders", 7),
        lambda cases: cases.cancel("orders", 7, by="otto", why="a mistake"),
    ],
)
def test_a_case_that_does_not_exist_is_unknown_by_its_number_and_process(use: Use) -> None:
    error = asyncio.run(error_of(client_of(shop()), use))

    assert (type(error), str(error)) == (UnknownCase, "there is no case 7 of process 'orders'; look for its number in the list of cases.")


def test_a_second_answer_is_told_who_gave_the_first(tmp_path: Path) -> None:
    async def story() -> Exception:
        objects = shop()
        async with client_of(objects) as cases:
            case, _ = await cases.start("orders", {"item": "coffee"})
            await objects.work(until=objects.clock.now() + 60)
            token = (await cases.show("orders", case))["pause"]["token"]
            await cases.answer("orders", case, token, {"agreed": True, "by": "ada; or so"}, by="ada; or so")
            return await error_of(cases, lambda cases: cases.answer("orders", case, token, {"agreed": False, "by": "ben"}, by="ben"))

    error = asyncio.run(story())

    assert isinstance(error, AlreadyAnswered)
    assert error.by == "ada; or so"


def test_the_client_needs_only_httpx() -> None:
    script = "import sys; sys.modules.update(restate=None, granian=None); from pointsman.client.restate import RestateClient"

    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (lambda cases: cases.start("orders", [1]), "process 'orders' cannot start with a list"),
        (lambda cases: cases.start("orders", {"item": "tea"}, key=""), "the key is empty; pass a text, or None for no key."),
        (
            lambda cases: cases.start("orders", {"item": "tea"}, correlation=""),
            "the correlation is empty; pass a text, or None for no correlation.",
        ),
        (
            lambda cases: cases.start("orders", {"price": nan}),
            "what is given cannot be sent as JSON (Out of range float values are not JSON",
        ),
        (lambda cases: cases.send("orders", inf), "what is given cannot be sent as JSON (Out of range float values are not JSON"),
        (lambda cases: cases.answer("orders", 7, "token", "\ud800", by="ada"), "what is given cannot be sent as JSON ("),
        (
            lambda cases: cases.redrive("orders", 7, by="ada", why="", fields={"item": object()}),
            "what is given cannot be sent as JSON (Unable to",
        ),
    ],
)
def test_what_no_handler_takes_is_refused_before_anything_is_sent(use: Use, told: str) -> None:
    nobody = client_that(raises(AssertionError("it was sent")))

    error = asyncio.run(error_of(nobody, use))

    assert type(error) is InputInvalid
    assert told in str(error)


def test_a_service_that_nobody_registered_is_told_with_the_command_that_registers_it(restate: Server) -> None:
    error = asyncio.run(error_of(RestateClient(restate.ingress), lambda cases: cases.show("orders", 7)))

    assert type(error) is StoreAway
    assert str(error) == (
        f"no program that serves this is registered with the Restate server at {restate.ingress} (service 'PointsmanCase' not found, make sure to"
        " register the service before calling it); run `pointsman restate serve --app module:process --admin URL`, and with --blobs FOLDER for blobs."
    )


@pytest.mark.parametrize(
    ("client", "error", "told"),
    [
        (lambda: client_that(raises(httpx.ConnectError(""))), StoreAway, "no Restate server takes calls at http://restate.test; start it"),
        (
            lambda: client_that(raises(httpx.ReadTimeout(""))),
            StoreAway,
            "had no answer in 60 s (see whether the program that serves the case runs); repeat this later.",
        ),
        (lambda: client_that(raises(httpx.ReadError(""))), StoreAway, "does not answer (ReadError); repeat this later."),
        (
            lambda: client_that(lambda _: httpx.Response(404)),
            StoreError,
            "no ingress of a Restate server answers at http://restate.test (HTTP 404)",
        ),
        (
            lambda: client_that(lambda _: httpx.Response(200, text="<html>")),
            StoreError,
            "no ingress of a Restate server answers at http://",
        ),
    ],
)
def test_a_server_that_is_away_or_none_is_named_with_its_address(client: Callable[[], RestateClient], error: type, told: str) -> None:
    raised = asyncio.run(error_of(client(), lambda cases: cases.show("orders", 7)))

    assert type(raised) is error
    assert told in str(raised)


def test_an_address_tells_the_services_that_its_server_calls() -> None:
    async def story() -> list[str]:
        async with client_that(lambda asked: httpx.Response(200, json={"services": [f"{asked.method} {asked.url.path}"]})) as client:
            return await client.services()

    assert asyncio.run(story()) == ["GET /restate/health"]


def test_a_change_that_got_no_answer_may_have_been_made() -> None:
    use: Use = lambda cases: cases.cancel("orders", 7, by="otto", why="twice")  # noqa: E731

    raised = asyncio.run(error_of(client_that(raises(httpx.ReadTimeout(""))), use))

    assert str(raised).endswith("runs), and may have taken this; look at the case before you repeat it.")


@pytest.mark.parametrize(
    "address", ["localhost:8080", "restate.test", "http://", "http://restate.test:80a", "http://restate.test:99999", "http://[::1"]
)
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(
        StoreError,
        match=re.escape(
            f"{address!r} is no address of a server; write the ingress of Restate with http:// or https://, such as http://127.0.0.1:8080."
        ),
    ):
        RestateClient(address)


def test_a_blob_that_is_too_large_for_a_request_is_told_so() -> None:
    closes = client_that(raises(httpx.ReadError("")))

    error = asyncio.run(error_of(closes, lambda cases: cases.store_blob(bytes(LARGE_BYTES + 1))))

    assert type(error) is StoreError
    assert str(error) == "Restate did not take a request of 33,488,897 bytes; it takes 32 MiB, if its settings do not say otherwise."
