"""Connections that keep others waiting: one that sends no request is closed, after a while or when another one needs its place."""

import asyncio
import socket
from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # to send the head of a request, which fits into a few packets


class BoundedConnection(H11Protocol):
    """A connection of uvicorn, which itself waits for ever for the head of the first request, and counts the connection meanwhile."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the head; close the connection that waits longest if there are too many."""
        super().connection_made(transport)
        # Or the body of an answer, which is written after its head, waits 40 ms until the other end acknowledges the head (RFC 896). asyncio
        # sets it only on sockets that name their protocol, and `socket.create_server` names none.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.made_at = self.loop.time()
        self._head_by: float | None = None
        self._wait_for_head()
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._close_one()

    def data_received(self, data: bytes) -> None:
        """Take in data. Some bytes now and then do not prolong the wait for a whole head."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait_for_head()
        else:
            self._head_by = None

    @property
    def waits(self) -> bool:
        """Whether the program waits for the other end: for a request, for the rest of one, or until it reads the answer."""
        return self.conn.their_state in {h11.IDLE, h11.SEND_BODY} or self.flow.write_paused

    def _wait_for_head(self) -> None:
        if self._head_by is None:
            self._head_by = self.loop.time() + HEAD_SECONDS
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_at(self._head_by, self.timeout_keep_alive_handler)

    def _close_one(self) -> None:
        others = (cast("BoundedConnection", one) for one in self.connections if one is not self)
        waiting = [one for one in others if one.waits]
        if waiting:
            oldest = min(waiting, key=lambda one: one.made_at)
            self.connections.discard(oldest)
            oldest.transport.abort()
