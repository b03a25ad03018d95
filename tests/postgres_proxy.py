"""A loopback proxy in front of a PostgreSQL server, which cuts, delays and swallows as a bad network does.

It reads the frames of the protocol (https://www.postgresql.org/docs/current/protocol-message-formats.html), so it knows which message commits,
and which answer of the server confirms that. Connections through it are not encrypted.
"""

import asyncio
import re
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit, urlunsplit

Cut = Literal["before", "after"]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

COPIES_IN = re.compile(rb"COPY\b.*\bFROM STDIN", re.IGNORECASE)  # the server gives no ReadyForQuery before the rows have come
COMMITS = re.compile(rb"(^|;)\s*(COMMIT|END|WITH batch)\b", re.IGNORECASE)  # the last one is the statement of a whole batch
ENCRYPTION = {(80_877_103).to_bytes(4, "big"), (80_877_104).to_bytes(4, "big")}  # SSLRequest and GSSENCRequest
QUERY, PARSE, BIND, SYNC = b"Q", b"P", b"B", b"S"  # of the client
READY = b"Z"  # of the server: one for each Query and each Sync, after everything that they caused


class Planned(NamedTuple):
    """A cut at the next statement that this pattern is found in, or at the one with this number."""

    statement: re.Pattern[bytes]
    when: Cut
    number: int | None = None


class Proxy:
    """Stands between clients and the server of a URL; clients use `url`. Its methods may be called from any thread. Open it with `with`.

    `statements` and `commits` count the statements and the COMMITs that came in, and `cuts` the planned cuts that happened.
    """

    def __init__(self, url: str) -> None:
        self._server = urlsplit(url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="postgres-proxy")
        self._links: set[_Link] = set()
        self._listening: asyncio.Server | None = None
        self.url = ""
        self.statements = 0
        self.commits = 0
        self.cuts = 0
        self.planned: deque[Planned] = deque()
        self.delay_seconds = 0.0
        self.passes = asyncio.Event()

    def __enter__(self) -> "Proxy":
        self._thread.start()
        port = self._call(self._listen())
        user, at, _ = self._server.netloc.rpartition("@")
        self.url = urlunsplit(self._server._replace(netloc=f"{user}{at}127.0.0.1:{port}"))
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut_at_commit(self, *cuts: Cut) -> None:
        """Cut the connections of the next COMMITs: `before` the server gets it, or `after` it has answered and before the client hears it."""
        self._do(lambda: self.planned.extend(Planned(COMMITS, when) for when in cuts))

    def cut_at(self, text: str, *cuts: Cut) -> None:
        """The same at the next statements that contain this text: one outside a transaction block commits at the Sync that follows it."""
        self._do(lambda: self.planned.extend(Planned(re.compile(re.escape(text.encode())), when) for when in cuts))

    def cut_at_number(self, number: int, cut: Cut) -> None:
        """The same at the statement that makes `statements` this number."""
        self._do(lambda: self.planned.append(Planned(re.compile(b""), cut, number)))

    def cut_all(self) -> None:
        """Cut all connections, and return when they have ended: their clients may have made new ones by then."""
        self._call(self._cut_all())

    def swallow(self) -> None:
        """Let nothing through from now on, in either direction, and tell nobody: a black hole. New connections are accepted."""
        self._do(self.passes.clear)

    def let_through(self) -> None:
        """End the black hole. What was sent meanwhile comes through now."""
        self._do(self.passes.set)

    def delay(self, seconds: float) -> None:
        """Hold each request and each answer back for so long."""
        self._do(lambda: setattr(self, "delay_seconds", seconds))

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._links)

    async def _listen(self) -> int:
        self.passes.set()
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._listening.sockets[0].getsockname()[1]
        return port

    async def _accept(self, *client: Any) -> None:
        try:
            server = await asyncio.open_connection(self._server.hostname, self._server.port or 5432)
        except OSError:
            client[1].transport.abort()
            return
        link = _Link(self, (client[0], client[1]), server)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)

    async def _cut_all(self) -> None:
        links = set(self._links)
        for link in links:
            link.cut()
        while links & self._links:  # noqa: ASYNC110 - a few rounds of the loop
            await asyncio.sleep(0)

    async def _close(self) -> None:
        assert self._listening is not None
        self._listening.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for _ in range(3):  # the transports end in the next rounds of the loop
            await asyncio.sleep(0)

    def _call(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result()

    def _do(self, what: Callable[[], object]) -> None:
        async def run() -> None:
            what()

        self._call(run())


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: Streams, server: Streams) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._prepared: dict[bytes, bytes] = {}
        self._asked = 1  # how often the client has asked for a ReadyForQuery; the first comes after the sign-in
        self._answered = 0
        self._last_answer: int | None = None  # the connection is cut when the server has given so many

    async def run(self) -> None:
        """Pass on in both directions, until one side ends or the connection is cut."""
        ways = [asyncio.ensure_future(way) for way in (self._up(), self._down())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            await self._proxy.passes.wait()  # in a black hole, nobody hears that the other side has ended
        finally:
            for way in ways:
                way.cancel()
            self.cut()
            await asyncio.gather(*ways, return_exceptions=True)

    def cut(self) -> None:
        """Reset both sides."""
        for _, writer in (self._client, self._server):
            writer.transport.abort()

    async def _up(self) -> None:
        (reader, back), writer = self._client, self._server[1]
        with suppress(OSError, asyncio.IncompleteReadError):
            while (start := await _body(reader))[4:8] in ENCRYPTION:
                await self._send(back, b"N")
            await self._send(writer, start)
            while True:
                kind = await reader.readexactly(1)
                body = await _body(reader)
                statement = self._statement(kind, body[4:])
                if statement is not None and self._cuts_before(statement):
                    return
                if kind in {QUERY, SYNC}:
                    self._asked += 1
                await self._send(writer, kind + body, held=kind in {QUERY, SYNC})

    async def _down(self) -> None:
        reader, writer = self._server[0], self._client[1]
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                kind = await reader.readexactly(1)
                body = await _body(reader)
                self._answered += kind == READY
                if self._last_answer is None:
                    await self._send(writer, kind + body, held=kind == READY)
                elif self._answered >= self._last_answer:
                    return

    def _statement(self, kind: bytes, body: bytes) -> bytes | None:
        """The statement that a message runs, if it runs one."""
        if kind == QUERY:
            return body[:-1]
        if kind == PARSE:
            name, text, _ = body.split(b"\0", 2)
            self._prepared[name] = text
        if kind == BIND:
            _, name, _ = body.split(b"\0", 2)
            return self._prepared.get(name)
        return None

    def _cuts_before(self, statement: bytes) -> bool:
        """Whether the connection is cut instead of passing this statement on. If it is to be cut after it, the way down does it."""
        proxy = self._proxy
        proxy.statements += 1
        proxy.commits += bool(COMMITS.search(statement))
        if self._last_answer is not None or not proxy.planned or not proxy.planned[0].statement.search(statement):
            return False
        if proxy.planned[0].number not in {None, proxy.statements}:
            return False
        proxy.cuts += 1
        if proxy.planned.popleft().when == "before" or COPIES_IN.match(statement):
            return True
        self._last_answer = self._asked + 1
        return False

    async def _send(self, writer: asyncio.StreamWriter, data: bytes, *, held: bool = False) -> None:
        if held and self._proxy.delay_seconds:
            await asyncio.sleep(self._proxy.delay_seconds)
        await self._proxy.passes.wait()
        writer.write(data)
        await writer.drain()


async def _body(reader: asyncio.StreamReader) -> bytes:
    """The length of a message and what it counts: the whole message but its kind."""
    length = await reader.readexactly(4)
    return length + await reader.readexactly(int.from_bytes(length, "big") - 4)
