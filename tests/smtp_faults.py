"""A real mail server on loopback that answers well but for one step, and keeps what it took."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiosmtpd.smtp import SMTP

BEFORE_THE_CONTENT = ("greeting", "EHLO", "MAIL", "RCPT", "DATA")
STEP_OF_CODE = {"220": "greeting", "354": "DATA", "221": "QUIT"}


class FaultySmtp(SMTP):
    """aiosmtpd's own server; at `step` it says `fault`, or hangs up ("drop"), or says nothing more ("silence")."""

    def __init__(self, *args: Any, step: str, fault: str, **kwargs: Any) -> None:
        self.step, self.fault, self.at = step, fault, ""
        super().__init__(*args, **kwargs)

    def connection_made(self, transport: Any) -> None:
        self.event_handler.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.event_handler.connections.discard(self)

    async def _call(self, at: str, call: Any) -> None:
        self.at = at
        self.event_handler.reached(at)
        await call

    async def smtp_EHLO(self, hostname: str) -> None:
        await self._call("EHLO", super().smtp_EHLO(hostname))

    async def smtp_MAIL(self, arg: str) -> None:
        await self._call("MAIL", super().smtp_MAIL(arg))

    async def smtp_RCPT(self, arg: str) -> None:
        await self._call(f"RCPT {arg.partition('<')[2].partition('>')[0]}", super().smtp_RCPT(arg))

    async def smtp_DATA(self, arg: str) -> None:
        if self.step == "amid the content":
            await self.push("354 go")
            await self._reader.read(1_000)
            self.transport.abort()
        elif self.step == "DATA":
            await self.push("354 go")
        else:
            await self._call("content", super().smtp_DATA(arg))

    async def smtp_HELO(self, hostname: str) -> None:
        await self._call("EHLO", super().smtp_HELO(hostname))

    async def smtp_QUIT(self, arg: str) -> None:
        await self._call("QUIT", super().smtp_QUIT(arg))

    async def smtp_RSET(self, arg: str) -> None:
        await self._call("RSET", super().smtp_RSET(arg))

    async def push(self, status: Any) -> None:
        at = STEP_OF_CODE.get(str(status)[:3], self.at)
        if not at.startswith(self.step):
            return await super().push(status)
        if self.fault not in {"drop", "silence"}:
            return await super().push(self.fault)
        try:
            if self.fault == "silence":
                await self._reader.read()
        finally:
            self.transport.abort()


class MailServer:
    """Keeps what it took as (sender, recipients, content), and hands it to `deliver`. `reached` is told each step of a talk.

    From `mend` on its talks have no fault.
    """

    def __init__(self, step: str, fault: str, deliver: Callable[[list[str], bytes], None], **settings: Any) -> None:
        self._deliver = deliver
        self.reached: Callable[[str], None] = lambda at: None
        self.taken: list[tuple[str, list[str], bytes]] = []
        self.connections: set[SMTP] = set()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._fault = (step, fault)
        self._settings = {"loop": self._loop, "hostname": "mx.example", **settings}

    def mend(self) -> None:
        self._fault = ("nothing", "")

    def _make(self) -> FaultySmtp:
        step, fault = self._fault
        return FaultySmtp(self, step=step, fault=fault, **self._settings)

    async def handle_DATA(self, server: FaultySmtp, session: Any, envelope: Any) -> str:
        refuses = server.step == "content" and server.fault[:1] in {"4", "5"}
        if not refuses:
            self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.original_content))
            self._deliver(envelope.rcpt_tos, envelope.original_content)
        return "250 taken"

    def run(self, began: threading.Event, ended: asyncio.Event) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(began, ended))

    async def _serve(self, began: threading.Event, ended: asyncio.Event) -> None:
        server = await self._loop.create_server(self._make, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        began.set()
        await ended.wait()
        server.close()
        while self.connections:  # noqa: ASYNC110 - each client has closed its connection, and the server has yet to see it
            await asyncio.sleep(0)

    def end(self, ended: asyncio.Event) -> None:
        self._loop.call_soon_threadsafe(ended.set)


@contextmanager
def mail_server(
    step: str = "nothing", fault: str = "", deliver: Callable[[list[str], bytes], None] = lambda *_: None, **settings: Any
) -> Iterator[MailServer]:
    server, began, ended = MailServer(step, fault, deliver, **settings), threading.Event(), asyncio.Event()
    thread = threading.Thread(target=server.run, args=(began, ended))
    thread.start()
    assert began.wait(60.0), "the mail server does not begin"
    try:
        yield server
    finally:
        server.end(ended)
        thread.join()
