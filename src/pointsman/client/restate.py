"""Start cases on Restate, answer their pauses and operate them, over the HTTP of its server."""

import random
from collections.abc import Mapping
from typing import Any, Self, cast
from urllib.parse import quote

import httpx
from pydantic_core import to_jsonable_python

from pointsman import errors
from pointsman.client.http import is_address
from pointsman.client.problems import made
from pointsman.client.restate_names import (
    BLOBS,
    CORRELATION,
    NAME,
    SCHEDULE,
    SERVICE,
    START_HERE,
    key_of,
    numbers,
    place_of,
    schedule_key,
    seed_of,
)
from pointsman.client.restate_requests import Start
from pointsman.definition.state import Blob, State
from pointsman.errors import InputInvalid, PointsmanError, Refused, StoreAway, StoreError
from pointsman.kernel.inputs import check_keys
from pointsman.kernel.snapshot import Status
from pointsman.runtime.starts import Delivered, Started

SEED_BITS = 128
ANSWER_SECONDS = 60.0  # longer than any turn that a caller waits for: none of them calls a function of a process
HEALTH, HEALTH_SECONDS = "/restate/health", 5.0  # the server answers itself, and need not wait for a program
READS = ("/show", "/events", "/check", HEALTH)  # what changes nothing
LARGE_BYTES = 32 * 2**20 - 2**16  # what Restate takes in one request beside its head, if its settings do not say otherwise


class RestateClient:
    """The cases of a Restate cluster. `ingress` is where its server takes calls, such as http://127.0.0.1:8080. Raises StoreError if that is no address.

    Each method raises UnknownCase if there is no such case, Refused if the case does not take this, InputInvalid if it is no JSON, StoreAway if the
    server does not answer or no program is registered, and StoreError if no Restate server is at this address. An error with "may have taken this"
    leaves open whether the call was made.
    """

    def __init__(self, ingress: str) -> None:
        if not is_address(ingress):
            raise StoreError(
                f"{ingress!r} is no address of a server; write the ingress of Restate with http:// or https://, such as http://127.0.0.1:8080."
            )
        self._http = httpx.AsyncClient(base_url=ingress, timeout=ANSWER_SECONDS, trust_env=False)
        self._ingress = ingress

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def services(self) -> list[str]:
        """Return the names of the services that the server calls for somebody, and so find out whether it takes calls at this address."""
        return [*(await self._answer(HEALTH, method="GET", timeout=HEALTH_SECONDS)).get("services", [])]

    async def start(
        self, process: str, inputs: State | Mapping[str, Any], *, key: str | None = None, correlation: str | None = None, tenant: str = "",
        priority: int = 0,
    ) -> Started:  # fmt: skip
        """Start a case. A second start of the tenant with the same `key` finds the first one's case.

        Messages with this `correlation` key go to the case while it is open, also those that came before it. Without a `key`, a start whose answer
        was lost may have started a case. Raises InputInvalid and UnknownProcess.
        """
        if not isinstance(inputs, Mapping | State):
            kind = type(inputs).__name__
            raise InputInvalid(f"process {process!r} cannot start with a {kind}; give it its state, or a mapping of its inputs.")
        check_keys(key=key, correlation=correlation, tenant=tenant, priority=priority)
        seed = seed_of(process, tenant, key) if key is not None else f"{random.SystemRandom().getrandbits(SEED_BITS):x}"
        given = dict(inputs) if isinstance(inputs, Mapping) else {name: getattr(inputs, name) for name in inputs.model_fields_set}
        asked = Start(seed, given, key=key, tenant=tenant, priority=priority, correlation=correlation)._asdict()
        if correlation is not None:
            return Started(**await self._post(f"/{CORRELATION}/{place_of(process, tenant, correlation)}/{START_HERE}", (process, asked)))
        for number in numbers(seed):
            answer = await self.call(process, number, "start", asked)
            if not answer.get("other"):
                return Started(number, answer.get("duplicate", False))
        raise Refused(f"no number is free for a case of {process!r}; start it with another key.")

    async def show(self, process: str, case: int) -> dict[str, Any]:
        """Return a case: its row, fields, open pause and effects. Values of private fields are hidden."""
        return await self.call(process, case, "show")

    async def events(self, process: str, case: int) -> list[dict[str, Any]]:
        """Return the events of a case, in their order."""
        found: list[dict[str, Any]] = await self.call(process, case, "events")  # type: ignore[assignment]
        return found

    async def answer(
        self, process: str, case: int, token: str, answer: object, *, by: str, edits: Mapping[str, object] | None = None
    ) -> Status:  # fmt: skip
        """Give a pause its answer, once. Raises AnswerInvalid, AlreadyAnswered, Stale and NotWaiting.

        `Stale.current` is None: `show` tells what the case asks now.
        """
        return await self._change(process, case, "answer", {"token": token, "answer": answer, "by": by, "edits": edits or {}})

    async def assign(self, process: str, case: int, to: str, *, by: str, note: str = "") -> Status:
        """Ask somebody else to answer the open pause."""
        return await self._change(process, case, "assign", {"to": to, "by": by, "note": note})

    async def cancel(self, process: str, case: int, *, by: str, why: str) -> Status:
        """Cancel a case. One that is running is cancelled when the steps that it takes now have ended."""
        return await self._change(process, case, "cancel", {"by": by, "why": why})

    async def redrive(self, process: str, case: int, *, by: str, why: str, fields: Mapping[str, object] | None = None) -> Status:
        """Return a parked or blocked case to the backlog, or correct `fields` of one that is parked or waits."""
        return await self._change(process, case, "redrive", {"by": by, "why": why, "fields": fields or {}})

    async def resolve(self, process: str, case: int, key: str, *, happened: bool, by: str, why: str, outcome: object = None) -> Status:
        """Record what became of an effect in doubt. If it `happened`, `outcome` is what it returned."""
        return await self._change(process, case, "resolve", {"key": key, "happened": happened, "by": by, "why": why, "outcome": outcome})

    async def send(
        self, process: str, message: object, *, name: str | None = None, key: str | None = None, tenant: str = "", priority: int = 0
    ) -> Delivered:  # fmt: skip
        """Send a message: to the open case with its correlation key, or to a new one.

        When this returns, the message is durable and on its way to the case. One that the case does not take in, because it ended meanwhile, goes
        to the next one. Raises InputInvalid and UnknownProcess.
        """
        asked = {"process": process, "message": message, "name": name, "key": key, "tenant": tenant, "priority": priority}
        return Delivered(**await self._post(f"/{SERVICE}/send", asked))

    async def begin_schedule(self, process: str, name: str, *, check: bool = True) -> None:
        """Begin a schedule of the registered program, as `register` does, or have it follow what the program says now.

        Raises Refused if the program has no such schedule. Without `check`, nobody asks it.
        """
        schedule = f"/{SCHEDULE}/{quote(schedule_key(process, name), safe='')}"
        if check:
            await self._post(f"{schedule}/check", None)
        await self._post(f"{schedule}/begin/send", None)

    async def store_blob(self, content: bytes) -> Blob:
        """Store a large value with the programs that serve, before a case or a message refers to it.

        Raises StoreAway if none of them has a folder of blobs, and StoreError if Restate does not take so large a request.
        """
        headers = {"content-type": "application/octet-stream"}
        return Blob(**await self._answer(f"/{BLOBS}/store_blob", content=content, headers=headers))

    async def call(self, process: str, case: int, handler: str, asked: object = None) -> dict[str, Any]:
        """Call a handler of a case with a value of JSON (None: with nothing), and return what it answers."""
        try:
            return await self._post(f"/{NAME}/{quote(key_of(process, case), safe='')}/{handler}", asked)
        except _NoCase:
            raise errors.UnknownCase(case, process) from None

    async def _change(self, process: str, case: int, handler: str, asked: dict[str, object]) -> Status:
        return Status((await self.call(process, case, handler, asked))["status"])

    async def _post(self, path: str, asked: object) -> dict[str, Any]:
        """What a handler answers to this value, or with None to nothing."""
        try:
            return await (self._answer(path) if asked is None else self._answer(path, json=to_jsonable_python(asked)))
        except ValueError as error:
            raise InputInvalid(f"what is given cannot be sent as JSON ({error}); give a text or None in its place.") from None

    async def _answer(self, path: str, *, method: str = "POST", **sent: Any) -> dict[str, Any]:
        """What the server answers. Raises the error that it tells, ValueError for what is no JSON, StoreAway and StoreError."""
        request = self._http.build_request(method, path, **sent)
        try:
            response = await self._http.send(request)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise StoreAway(f"no Restate server takes calls at {self._ingress}; start it, or correct the ingress (--ingress).") from None
        except httpx.HTTPError as error:
            if (size := len(request.content)) > LARGE_BYTES:
                raise StoreError(
                    f"Restate did not take a request of {size:,} bytes; it takes 32 MiB, if its settings do not say otherwise."
                ) from None
            raise self._unanswered(path, error) from None
        try:
            told = response.json()
            if response.is_success:
                return cast("dict[str, Any]", told)
            raise self._error(response.status_code, told)
        except (ValueError, KeyError, TypeError, AttributeError):
            what = f"no ingress of a Restate server answers at {self._ingress} (HTTP {response.status_code})"
            raise StoreError(f"{what}; correct the ingress (--ingress).") from None

    def _unanswered(self, path: str, error: httpx.HTTPError) -> StoreAway:
        """The error for a call that may have been made."""
        what = f"the Restate server at {self._ingress} does not answer ({type(error).__name__})"
        if isinstance(error, httpx.ReadTimeout) and path != HEALTH:  # it takes a call also while no program runs that it could call
            what = f"the Restate server at {self._ingress} had no answer in {ANSWER_SECONDS:.0f} s (see whether the program that serves the case runs)"
        if path.endswith(READS):
            return StoreAway(f"{what}; repeat this later.")
        return StoreAway(f"{what}, and may have taken this; look at the case before you repeat it.")

    def _error(self, status: int, told: Mapping[str, Any]) -> PointsmanError:
        """The error that the server tells: of a handler, the name of its class and its message."""
        if told.get("source") == "ingress" and status == httpx.codes.NOT_FOUND:
            return StoreAway(
                f"no program that serves this is registered with the Restate server at {self._ingress} ({told['message'].rstrip('.')}); run"
                " `pointsman restate serve --app module:process --admin URL`, and with --blobs FOLDER for blobs."
            )
        name, _, message = str(told["message"]).partition(": ")
        kind = getattr(errors, name, None)
        if kind is errors.UnknownCase:
            return _NoCase(message)
        if isinstance(kind, type) and issubclass(kind, PointsmanError):
            return made(kind, message, by=told.get("metadata", {}).get("by"))
        return Refused(f"Restate answered with {status}: {told['message']}")


class _NoCase(PointsmanError):
    """The server has no such case."""
