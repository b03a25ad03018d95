"""Start cases on Restate, answer their pauses and operate them, over the HTTP of its server."""

import random
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import httpx
from pydantic_core import to_jsonable_python

from pointsman import errors
from pointsman.definition.state import Blob, State
from pointsman.errors import PointsmanError, Refused
from pointsman.kernel.snapshot import Status
from pointsman.restate.record import BLOBS, NAME, SERVICE, key_of, numbers, seed_of

SEED_BITS = 128
ANSWER_SECONDS = 60.0  # longer than any turn that a caller waits for: none of them calls a function of a process


class Started(NamedTuple):
    """The number of a case, and whether an earlier start with the same key had created it."""

    case: int
    duplicate: bool


class Delivered(NamedTuple):
    """The case that a message started or was sent to, or None, and what became of it, as with `Engine.send`."""

    case: int | None
    how: str


class RestateClient:
    """The cases of a Restate cluster. `ingress` and `admin` are the addresses of its server. Raises Refused and what httpx raises."""

    def __init__(self, ingress: str, admin: str | None = None) -> None:
        self._http = httpx.AsyncClient(base_url=ingress, timeout=ANSWER_SECONDS, trust_env=False)
        self._admin = admin

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.aclose()

    async def start(
        self, process: str, inputs: State | Mapping[str, Any], *, key: str | None = None, tenant: str = "", priority: int = 0
    ) -> Started:  # fmt: skip
        """Start a case. A second start of the tenant with the same `key` finds the first one's case.

        Without a `key`, a start whose answer was lost may have started a case. Raises InputInvalid and UnknownProcess.
        """
        seed = seed_of(process, tenant, key) if key is not None else f"{random.SystemRandom().getrandbits(SEED_BITS):x}"
        given = dict(inputs) if isinstance(inputs, Mapping) else {name: getattr(inputs, name) for name in inputs.model_fields_set}
        asked = {"seed": seed, "inputs": to_jsonable_python(given), "key": key, "tenant": tenant, "priority": priority}
        for number in numbers(seed):
            answer = await self.call(process, number, "start", asked)
            if not answer.get("taken"):
                return Started(number, answer.get("duplicate", False))
        raise AssertionError(seed)

    async def show(self, process: str, case: int) -> dict[str, Any]:
        """Return a case: its row, fields, open pause and effects. Values of private fields are hidden. Raises UnknownCase."""
        return await self.call(process, case, "show", None)

    async def events(self, process: str, case: int) -> list[dict[str, Any]]:
        """Return the events of a case, in their order."""
        found: list[dict[str, Any]] = await self.call(process, case, "events", None)  # type: ignore[assignment]
        return found

    async def answer(
        self, process: str, case: int, token: str, answer: object, *, by: str, edits: Mapping[str, object] | None = None
    ) -> Status:  # fmt: skip
        """Give a pause its answer, once. Raises AnswerInvalid, AlreadyAnswered, Stale and NotWaiting."""
        asked = {"token": token, "answer": to_jsonable_python(answer), "by": by, "edits": to_jsonable_python(edits or {})}
        return Status((await self.call(process, case, "answer", asked))["status"])

    async def assign(self, process: str, case: int, to: str, *, by: str, note: str = "") -> Status:
        """Ask somebody else to answer the open pause."""
        return Status((await self.call(process, case, "assign", {"to": to, "by": by, "note": note}))["status"])

    async def cancel(self, process: str, case: int, *, by: str, why: str) -> Status:
        """Cancel a case. One that is running is cancelled when the steps that it takes now have ended."""
        return Status((await self.call(process, case, "cancel", {"by": by, "why": why}))["status"])

    async def redrive(self, process: str, case: int, *, by: str, why: str, fields: Mapping[str, object] | None = None) -> Status:
        """Return a parked or blocked case to the backlog, or correct `fields` of one that is parked or waits."""
        asked = {"by": by, "why": why, "fields": to_jsonable_python(fields or {})}
        return Status((await self.call(process, case, "redrive", asked))["status"])

    async def resolve(self, process: str, case: int, key: str, *, happened: bool, by: str, why: str, outcome: object = None) -> Status:
        """Record what became of an effect in doubt. If it `happened`, `outcome` is what it returned."""
        asked = {"key": key, "happened": happened, "by": by, "why": why, "outcome": to_jsonable_python(outcome)}
        return Status((await self.call(process, case, "resolve", asked))["status"])

    async def send(
        self, process: str, message: object, *, name: str | None = None, key: str | None = None, tenant: str = "", priority: int = 0
    ) -> Delivered:  # fmt: skip
        """Send a message: to the open case with its correlation key, or to a new one.

        When this returns, the message is durable and on its way to the case. One that the case does not take in, because it ended meanwhile, goes
        to the next one. Raises InputInvalid and UnknownProcess.
        """
        asked = {
            "process": process,
            "message": to_jsonable_python(message),
            "name": name,
            "key": key,
            "tenant": tenant,
            "priority": priority,
        }
        return Delivered(**await self._post(f"/{SERVICE}/send", asked))

    async def store_blob(self, content: bytes) -> Blob:
        """Store a large value with the programs that serve, before a case or a message refers to it. Raises Refused if they have no store."""
        response = await self._http.post(f"/{BLOBS}/store_blob", content=content, headers={"content-type": "application/octet-stream"})
        if response.is_success:
            return Blob.model_validate_json(response.content)
        raise _error(response)

    async def call(self, process: str, case: int, handler: str, asked: object) -> dict[str, Any]:
        """Call a handler of a case with a value of JSON (None: with nothing), and return what it answers."""
        return await self._post(f"/{NAME}/{quote(key_of(process, case), safe='')}/{handler}", asked)

    async def _post(self, path: str, asked: object) -> dict[str, Any]:
        response = await (self._http.post(path) if asked is None else self._http.post(path, json=asked))
        if response.is_success:
            found: dict[str, Any] = response.json()
            return found
        raise _error(response)


def _error(response: httpx.Response) -> PointsmanError:
    try:
        told = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        told = response.text
    name, _, message = told.partition(": ")
    kind = getattr(errors, name, None)
    if kind is errors.AlreadyAnswered:
        return errors.AlreadyAnswered(message, by="")
    if kind is errors.Stale:
        return errors.Stale(message, current=None)
    if kind is errors.UnknownCase:
        return Refused(message)
    if isinstance(kind, type) and issubclass(kind, PointsmanError):
        return kind(message)
    return Refused(f"Restate answered with {response.status_code}: {told}")
