"""The clients: `Client` waits for each answer, `AsyncClient` is awaited. Both have the calls of `calls.py` as methods."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

import httpx
from pydantic import ValidationError

from pointsman.client import calls
from pointsman.client.calls import Call
from pointsman.client.problems import Unreachable, error_of
from pointsman.client.schemas import EventView
from pointsman.errors import ValueRefused
from pointsman.kernel.codec import describe

P = ParamSpec("P")
T = TypeVar("T")

PREFIX = "/api/v1"
PORT_MAX = 65_535
TIMEOUT_SECONDS = 30.0  # longer than the server takes for any request but a stream


class _Method(Generic[P, T]):
    """A call as a method of both clients: `Client` returns its answer, `AsyncClient` an awaitable of it."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, client: "Client", owner: type["Client"]) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type["AsyncClient"]) -> Callable[P, Awaitable[T]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Self: ...

    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self

        def method(*args: P.args, **keywords: P.kwargs) -> Any:
            try:
                call = self._build(*args, **keywords)
            except ValidationError as error:
                raise ValueRefused(f"the call cannot be sent: {describe(error)}; correct what is given.") from None
            return client.call(call)

        method.__doc__ = self.__doc__
        return method


class _Methods:
    start = _Method(calls.start)
    send = _Method(calls.send)
    cases = _Method(calls.cases)
    case = _Method(calls.case)
    explain = _Method(calls.explain)
    task = _Method(calls.task)
    tasks = _Method(calls.tasks)
    answer = _Method(calls.answer)
    assign = _Method(calls.assign)
    cancel = _Method(calls.cancel)
    redrive = _Method(calls.redrive)
    resolve = _Method(calls.resolve)
    erase = _Method(calls.erase)
    erase_person = _Method(calls.erase_person)
    intake = _Method(calls.intake)
    pause_intake = _Method(calls.pause_intake)
    resume_intake = _Method(calls.resume_intake)
    redeliver = _Method(calls.redeliver)
    vacuum = _Method(calls.vacuum)
    in_doubt = _Method(calls.in_doubt)
    processes = _Method(calls.processes)
    limits = _Method(calls.limits)
    counts = _Method(calls.counts)
    events = _Method(calls.events)


class Client(_Methods):
    """A client of the API that waits for each answer. Use it as a context manager, or close it.

    Each method raises the library's errors as the engine would, `CallRefused` for other answers, and `Unreachable`.
    """

    def __init__(self, url: str, *, token: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        """Talk to the server at `url`, such as http://127.0.0.1:8470. `transport` is for tests. Raises ValueError."""
        self._http = httpx.Client(base_url=_checked(url), headers=_headers(token), timeout=TIMEOUT_SECONDS, transport=transport)

    def call(self, call: Call[T]) -> T:
        """Send a call and return its answer."""
        try:
            response = self._http.request(call.method, PREFIX + call.path, **_request(call))
        except httpx.HTTPError as error:
            raise Unreachable.after(error, safe=call.safe) from None
        return _answer(call, response)

    @contextmanager
    def follow(self, *, after: str = "") -> Iterator[Iterator[EventView]]:
        """Yield an iterator over the events behind the cursor `after`, and over new ones as they are committed."""
        try:
            with self._http.stream("GET", f"{PREFIX}/events/stream", params={"after": after}, timeout=None) as response:
                if response.is_error:
                    response.read()
                    raise error_of(response)
                yield (event for line in response.iter_lines() if (event := _event(line)) is not None)
        except httpx.HTTPError as error:
            raise Unreachable.after(error, safe=True) from None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Methods):
    """Like `Client`, for asyncio: its methods are awaited."""

    def __init__(self, url: str, *, token: str | None = None, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Talk to the server at `url`. `transport` is for tests. Raises ValueError."""
        self._http = httpx.AsyncClient(base_url=_checked(url), headers=_headers(token), timeout=TIMEOUT_SECONDS, transport=transport)

    async def call(self, call: Call[T]) -> T:
        """Send a call and return its answer."""
        try:
            response = await self._http.request(call.method, PREFIX + call.path, **_request(call))
        except httpx.HTTPError as error:
            raise Unreachable.after(error, safe=call.safe) from None
        return _answer(call, response)

    @asynccontextmanager
    async def follow(self, *, after: str = "") -> AsyncIterator[AsyncIterator[EventView]]:
        """Yield an iterator over the events behind the cursor `after`, and over new ones as they are committed."""
        try:
            async with self._http.stream("GET", f"{PREFIX}/events/stream", params={"after": after}, timeout=None) as response:
                if response.is_error:
                    await response.aread()
                    raise error_of(response)
                yield (event async for line in response.aiter_lines() if (event := _event(line)) is not None)
        except httpx.HTTPError as error:
            raise Unreachable.after(error, safe=True) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def is_address(url: str) -> bool:
    """Whether this is an address of HTTP."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parsed.scheme in {"http", "https"} and parsed.host != "" and (parsed.port or 0) <= PORT_MAX


def _checked(url: str) -> str:
    """Return `url` if it is an address of HTTP, so that a mistake is told when the client is made. Raises ValueError."""
    if not is_address(url):
        raise ValueError(f"{url!r} is no address of a server; write it with its scheme, such as http://127.0.0.1:8470.")
    return url


def _headers(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _request(call: Call[Any]) -> dict[str, Any]:
    if call.body is None:
        return {"params": dict(call.query)}
    try:
        body = json.dumps(call.body.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        what = (
            "a lone surrogate" if isinstance(error, UnicodeEncodeError) else "a number that is none, or too many values within each other"
        )
        raise ValueRefused(f"the call cannot be sent, because it holds {what}; correct what is given.") from None
    return {"params": dict(call.query), "content": body, "headers": {"Content-Type": "application/json"}}


def _answer(call: Call[T], response: httpx.Response) -> T:
    if not response.is_success:
        raise error_of(response)
    return call.returns.validate_json(response.content)


def _event(line: str) -> EventView | None:
    return EventView.model_validate_json(line.removeprefix("data: ")) if line.startswith("data: ") else None
