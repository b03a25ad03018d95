"""A real HTTP server on loopback that does what a test says with each request, and counts those that it read whole."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager


class Server:
    """Reads one request from each connection, and then does the next of `answers`.

    It writes raw bytes and hangs up, resets the connection ("reset"), or says nothing ("silence").
    """

    def __init__(self, *answers: bytes | str) -> None:
        self.answers = list(answers)
        self.requests: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/secret-path?token=secret-token"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.read(1)
            if first == b"\x16":  # a client that wants to talk TLS
                writer.write(answer("400 Bad Request"))
                return
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0))
            self.requests.append(head.partition(" ")[0].upper())
            fault = self.answers.pop(0)
            if isinstance(fault, bytes):
                writer.write(fault)
                await writer.drain()
            elif fault == "silence":
                await reader.read()
            else:
                linger = struct.pack("ii", 1, 0)  # closing sends a reset
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: bytes | str) -> AsyncIterator[Server]:
    server = Server(*answers)
    listening = await asyncio.start_server(server.talk, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


def answer(status: str, *headers: str, body: str = "") -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", body)).encode()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else gets meanwhile."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port whose connections are never accepted, and whose backlog is full: connecting to it takes for ever."""
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            yield port
        finally:
            for filler in fillers:
                filler.close()
