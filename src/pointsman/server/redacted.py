"""The engine as a caller may see it: without private values, if the caller has no scope for them."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, cast

from starlette.requests import Request

from pointsman.kernel.answering import Pending
from pointsman.kernel.rows import EventRow
from pointsman.operations.redaction import Private, Redacted, private_fields
from pointsman.runtime.engine import Engine
from pointsman.server.access import Forbidden, Principal, Scope, permit
from pointsman.store.query import CasePage, CaseQuery

OF_ENGINE = frozenset({"processes", "case", "clock", "tasks", "changed", "changes", "check_ready", "shared"})
"""What an engine says without a private value."""


class _Reader(Redacted):
    """A reader that does not search by what it hides, either: to ask for each value in turn would be to read it."""

    async def find(self, query: CaseQuery, *, after: str = "", limit: int = 100) -> CasePage:
        """A page of cases. Raises Forbidden for a search by a private field."""
        hidden = frozenset().union(*self.hides.values()) if query.process is None else self.hides.get(query.process, frozenset())
        searched = [name for name in query.search if name in hidden] or (["text"] if query.text and hidden else [])
        if searched:
            raise Forbidden(f"a search by {searched[0]!r} reads private fields; it needs the scope {Scope.PRIVATE.value}.")
        return await self.reader.find(query, after=after, limit=limit)


class _Engine:
    """What callers look at of an engine, without private values. It changes nothing."""

    def __init__(self, engine: Engine, private: Private) -> None:
        self._engine = engine
        self.reader = _Reader(engine.reader, private)

    def __getattr__(self, name: str) -> Any:
        if name in OF_ENGINE:
            return getattr(self._engine, name)
        raise AttributeError(f"{name!r} is not for callers without the scope {Scope.PRIVATE.value}.")

    async def pending(self, case: int) -> Pending:
        """The pause of a case, without the private fields that it shows. Raises UnknownCase, NotWaiting."""
        return await self.hide_shown(await self._engine.pending(case))

    async def hide_shown(self, pending: Pending) -> Pending:
        """The same pause without the private fields that it shows."""
        return pending.without(await self.reader.private_of(pending.case))

    async def events(self, *, after: str = "") -> AsyncGenerator[EventRow, None]:
        """Every event after the cursor, without private values, and then the new ones."""
        source = self._engine.events(after=after)
        try:
            async for row in source:
                for event in await self.reader.of_events([row]):
                    yield event
        finally:
            await source.aclose()


async def shown_to(who: Principal, engine: Engine) -> Engine:
    """The engine as this caller may look at it."""
    private = {} if Scope.PRIVATE in who.scopes else private_fields(await engine.reader.private())
    return cast("Engine", _Engine(engine, private)) if private else engine


async def hide_shown(engine: Engine, pending: Pending) -> Pending:
    """A pause as whoever looks at this engine may see it."""
    return await engine.hide_shown(pending) if isinstance(engine, _Engine) else pending


def looking(scope: Scope) -> Callable[[Request], Awaitable[Engine]]:
    """Return the dependency of a route that looks and needs `scope`; its value is the engine as the caller may look at it."""

    async def engine(request: Request) -> Engine:
        return await shown_to(await permit(request, scope), request.app.state.engine)

    return engine
