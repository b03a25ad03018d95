"""HTTP: what is proved not to have happened is not sent or rejected, and everything else stays in doubt."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
from http_faults import answer, closed_port, full_backlog, serving

from pointsman import NotSent, Rejected, http_outcome, raise_for_outcome
from pointsman.mappings.http import RETRY_AFTER_MAX, retry_after_seconds

DATE = "Date: Sun, 06 Nov 1994 08:49:37 GMT"
NOW = 784_111_777.0  # the same moment

HANGS_SECONDS = 120.0
SETTINGS = {
    "timeout": HANGS_SECONDS,
    "trust_env": False,
    "verify": ssl.create_default_context(),
}  # one for all clients: making one takes long

Send = Callable[..., Coroutine[Any, Any, Any]]


async def send_async(url: str, *, rejects: tuple[int, ...] = (), now: float | None = None, **settings: Any) -> httpx.Response:
    async with httpx.AsyncClient(**SETTINGS | settings) as client:
        with http_outcome(rejects=rejects, now=now):
            response = await client.post(url, json={"amount": 5})
            response.raise_for_status()
            return response


async def send_plain(url: str, **settings: Any) -> httpx.Response:
    return await asyncio.to_thread(_send_plain, url, **settings)


def _send_plain(url: str, *, rejects: tuple[int, ...] = (), now: float | None = None, **settings: Any) -> httpx.Response:
    with httpx.Client(**SETTINGS | settings) as client:
        with http_outcome(rejects=rejects, now=now):
            response = client.post(url, json={"amount": 5})
        raise_for_outcome(response, rejects=rejects, now=now)
        return response


both = pytest.mark.parametrize("send", [send_async, send_plain], ids=["async client and block", "plain client and function"])


def end_of(send: Send, *answers: bytes | str, **settings: Any) -> tuple[BaseException | None, list[str]]:
    """How a call to a server with these answers ended, and the requests that the server read whole."""

    async def run() -> tuple[BaseException | None, list[str]]:
        async with serving(*answers) as server:
            try:
                await send(server.url, **settings)
            except Exception as error:
                return error, server.requests
            return None, server.requests

    return asyncio.run(run())


@both
@pytest.mark.parametrize("status", ["200 OK", "201 Created", "204 No Content"])
def test_a_success_returns(send: Send, status: str) -> None:
    error, requests = end_of(send, answer(status))

    assert (error, requests) == (None, ["POST"])


@both
@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ("400 Bad Request", Rejected),
        ("402 Payment Required", Rejected),
        ("403 Forbidden", Rejected),
        ("404 Not Found", Rejected),
        ("410 Gone", Rejected),
        ("422 Unprocessable Content", Rejected),
        ("451 Unavailable For Legal Reasons", Rejected),
        ("401 Unauthorized", NotSent),
        ("307 Temporary Redirect", NotSent),
        ("308 Permanent Redirect", NotSent),
        ("421 Misdirected Request", NotSent),
        ("425 Too Early", NotSent),
        ("429 Too Many Requests", NotSent),
        ("303 See Other", httpx.HTTPStatusError),
        ("408 Request Timeout", httpx.HTTPStatusError),
        ("409 Conflict", httpx.HTTPStatusError),
        ("500 Internal Server Error", httpx.HTTPStatusError),
        ("502 Bad Gateway", httpx.HTTPStatusError),
        ("503 Service Unavailable", httpx.HTTPStatusError),
        ("504 Gateway Timeout", httpx.HTTPStatusError),
    ],
)
def test_an_answer_says_whether_the_server_has_acted(send: Send, answers: str, kind: type[Exception]) -> None:
    error, requests = end_of(send, answer(answers))

    assert type(error) is kind
    assert requests == ["POST"]


@both
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize(
    ("headers", "now", "seconds"),
    [
        (["Retry-After: 7"], None, 7.0),
        (["Retry-After: 0"], None, 0.0),
        (["Retry-After: Sun, 06 Nov 1994 08:51:37 GMT", DATE], 1.0, 120.0),
        (["Retry-After: Sun, 06 Nov 1994 08:51:37 GMT"], NOW, 120.0),
        (["Retry-After: Sun, 06 Nov 1994 08:00:00 GMT", DATE], None, 0.0),
    ],
)
def test_the_wait_that_a_server_asks_for_is_kept(send: Send, status: str, headers: list[str], now: float | None, seconds: float) -> None:
    error, _ = end_of(send, answer(status, *headers), now=now)

    assert isinstance(error, NotSent)
    assert error.retry_after == seconds


@both
@pytest.mark.parametrize("value", ["soon", "-5", "", "²", "Sun, 06 Nov 1994 08:51:37 GMT"])
def test_a_wait_that_cannot_be_read_proves_nothing_of_a_503(send: Send, value: str) -> None:
    header = f"Retry-After: {value}"

    full, _ = end_of(send, answer("503 Service Unavailable", header))
    limited, _ = end_of(send, answer("429 Too Many Requests", header))

    assert isinstance(full, httpx.HTTPStatusError)
    assert isinstance(limited, NotSent)
    assert limited.retry_after is None


@pytest.mark.parametrize("value", ["Sun, 06 Nov 1994 08:49:42 GMT", "Sunday, 06-Nov-94 08:49:42 GMT", "Sun Nov  6 08:49:42 1994"])
def test_a_date_is_read_in_each_of_the_three_forms_of_the_standard(value: str) -> None:
    seconds = retry_after_seconds({"Retry-After": value}, now=NOW)

    assert seconds == 5.0


@pytest.mark.parametrize("value", ["9" * 5_000, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_no_server_can_put_a_case_to_sleep_for_ever(value: str) -> None:
    seconds = retry_after_seconds({"Retry-After": value}, now=NOW)

    assert seconds == RETRY_AFTER_MAX


@both
def test_an_api_that_documents_its_refusals_is_taken_at_its_word(send: Send) -> None:
    error, _ = end_of(send, answer("409 Conflict"), rejects=(409,))

    assert isinstance(error, Rejected)


@both
def test_no_secret_of_the_address_stands_in_the_error(send: Send) -> None:
    error, _ = end_of(send, answer("403 Forbidden"))

    assert str(error) == "127.0.0.1 answered POST with 403 Forbidden"


@both
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("reset", httpx.TransportError),
        (b"", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Le", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", httpx.RemoteProtocolError),
        (b"what?\r\n\r\n", httpx.RemoteProtocolError),
    ],
)
def test_a_connection_that_breaks_after_the_request_leaves_it_in_doubt(send: Send, fault: bytes | str, kind: type[Exception]) -> None:
    error, requests = end_of(send, fault)

    assert isinstance(error, kind)
    assert requests == ["POST"]


@both
def test_an_answer_that_does_not_come_in_time_leaves_the_request_in_doubt(send: Send) -> None:
    async def run() -> list[str]:
        async with serving("silence") as server:
            with pytest.raises(httpx.ReadTimeout):
                await send(server.url, timeout=httpx.Timeout(HANGS_SECONDS, read=0.2))  # cut short, because the server never answers
            while not server.requests:  # noqa: ASYNC110 - a busy machine may read it later
                await asyncio.sleep(0)
            return server.requests

    assert asyncio.run(run()) == ["POST"]


@both
@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:{port}/", "http://nowhere.invalid/", "ftp://127.0.0.1/", "http://127.0.0.1:{port}:/", "/relative"],
    ids=["refused", "no such name", "no such scheme", "no address", "no host"],
)
def test_a_request_that_reached_nobody_was_not_sent(send: Send, url: str) -> None:
    with closed_port() as port, pytest.raises(NotSent, match="the request could not be sent"):
        asyncio.run(send(url.format(port=port)))


@both
def test_a_server_that_speaks_no_tls_got_no_request(send: Send) -> None:
    async def run() -> list[str]:
        async with serving() as server:
            with pytest.raises(NotSent):
                await send(server.url.replace("http:", "https:"))
            return server.requests

    assert asyncio.run(run()) == []


@both
def test_a_connection_that_nobody_accepts_in_time_sent_nothing(send: Send) -> None:
    with full_backlog() as port, pytest.raises(NotSent):
        asyncio.run(send(f"http://127.0.0.1:{port}/", timeout=0.2))  # cut short, because nobody ever accepts


@both
def test_a_proxy_that_refuses_the_way_sent_nothing(send: Send) -> None:
    async def run() -> list[str]:
        async with serving(answer("403 Forbidden")) as proxy:
            with pytest.raises(NotSent):
                await send("https://shop.example/", proxy=f"http://127.0.0.1:{proxy.port}")
            return proxy.requests

    assert asyncio.run(run()) == ["CONNECT"]


def test_a_call_that_finds_no_place_in_the_pool_was_not_sent() -> None:
    async def run() -> list[str]:
        limits = httpx.Limits(max_connections=1)
        async with serving("silence") as server, httpx.AsyncClient(limits=limits, **SETTINGS) as client:
            first = asyncio.create_task(client.post(server.url))
            while not server.requests:  # noqa: ASYNC110 - nothing tells when the server has read it
                await asyncio.sleep(0)
            with pytest.raises(NotSent), http_outcome():
                await client.post(server.url, timeout=httpx.Timeout(HANGS_SECONDS, pool=0.05))
            first.cancel()
            return server.requests

    assert asyncio.run(run()) == ["POST"]


@both
@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "303 See Other"])
def test_after_a_redirect_that_was_followed_nothing_is_proved_any_more(send: Send, status: str) -> None:
    async def run() -> tuple[Any, Any]:
        async with serving(answer("429 Too Many Requests")) as busy:
            limited, _ = await redirected(send, status, busy.url)
        with closed_port() as port:
            return limited, await redirected(send, status, f"http://127.0.0.1:{port}/")

    limited, (unreachable, requests) = asyncio.run(run())

    assert isinstance(limited, httpx.HTTPStatusError)
    assert isinstance(unreachable, httpx.ConnectError)
    assert requests == ["POST"]


async def redirected(send: Send, status: str, target: str) -> tuple[BaseException | None, list[str]]:
    async with serving(answer(status, f"Location: {target}")) as server:
        try:
            await send(server.url, follow_redirects=True)
        except Exception as error:
            return error, server.requests
        return None, server.requests


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(ConnectionRefusedError), http_outcome():
        raise ConnectionRefusedError
    with pytest.raises(asyncio.CancelledError), http_outcome():
        raise asyncio.CancelledError
