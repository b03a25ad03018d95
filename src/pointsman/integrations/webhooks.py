"""Webhooks: tell another program of tasks, reminders and parked cases, as Standard Webhooks says (https://www.standardwebhooks.com).

Each webhook is a subscriber of its own, so that none is missed and a receiver that is away delays no other. A receiver that does not take a
message for too long is given up: the message stays in the database, as a part of a gap, and the next one is sent.
"""

import asyncio
import base64
import binascii
import hmac
import json
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pointsman.definition.durations import seconds_of
from pointsman.errors import DefinitionError, PointsmanError
from pointsman.kernel.events import Kind
from pointsman.kernel.rows import CaseRow, EventRow
from pointsman.operations.plain_names import plain_step
from pointsman.runtime.subscribers import Delivery, GivenUp
from pointsman.store.base import Reader

TIMEOUT_SECONDS = 20.0  # for a receiver's answer: Standard Webhooks asks for 15 to 30
POSTS_MAX = 10  # messages of one delivery: even of a slow receiver, the last one is sent with a time that it still accepts
TRIES_SECONDS = 3_600.0  # that a receiver has to come back before an old message is given up
GIVE_UP = "24h"
SECRET_PREFIX = "whsec_"  # noqa: S105 - how a secret begins that is written in base64
SECRET_BYTES_MIN = 24  # as Standard Webhooks asks

What = Literal["task.opened", "task.reminded", "task.reassigned", "task.expired", "case.parked", "case.blocked"]
WHAT: Mapping[str, What] = MappingProxyType({
    Kind.PAUSED: "task.opened",
    Kind.REMINDED: "task.reminded",
    Kind.REASSIGNED: "task.reassigned",
    Kind.DEADLINE_PASSED: "task.expired",
    Kind.PARKED: "case.parked",
    Kind.BLOCKED: "case.blocked",
})  # fmt: skip
USUAL: tuple[What, ...] = ("task.opened", "task.reminded", "case.parked")


class WebhookInvalid(PointsmanError):
    """A webhook is not declared as it must be, or its secret is missing."""


class WebhookRefused(PointsmanError):
    """The receiver of a webhook did not take a message. It is sent again."""


class Declared(BaseModel):
    """A webhook: where to, about what, and the name of the environment variable with its secret.

    `processes` narrows it to these processes. `pages` is the address of the pages, for a link to the case. A message that is not taken is given
    up when its event is older than `give_up`, such as "24h".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.-]+$")
    url: str
    secret: str
    events: tuple[What, ...] = USUAL
    processes: tuple[str, ...] = ()
    pages: str = ""
    give_up: str = GIVE_UP


class Webhook:
    """A subscriber that posts a signed message for each event that its receiver wants. Pass it to `Engine.open(subscribers=[...])`.

    `secrets` are `whsec_` and base64: the messages are signed with each, so that a secret can be changed without a gap. Raises WebhookInvalid.
    """

    def __init__(self, declared: Declared, secrets: Sequence[str], *, client: httpx.AsyncClient | None = None) -> None:
        self.name = f"webhook {declared.name}"
        self._declared = declared
        self._secrets = [_key(secret, declared) for secret in secrets]
        self._client = client
        self._host = _host(declared)
        self._give_up_seconds = _seconds(declared)
        self._refused_since: float | None = None  # Unix seconds; None if the last message was taken

    async def deliver(self, delivery: Delivery) -> str | None:
        """Post the messages of these events, one after the other. Raises WebhookRefused if the first one is not taken, and GivenUp if that is too old."""
        wanted = [event for event in delivery.events if WHAT.get(event.kind) in self._declared.events]
        rows = {row.id: row for row in await delivery.reader.cases_of({event.case for event in wanted})} if wanted else {}
        sent = [event for event in wanted if event.case in rows and self._concerns(rows[event.case])]
        reached: str | None = None
        for event in sent[:POSTS_MAX]:
            try:
                body = await self._body(event, rows[event.case], delivery.reader)
                await self._post(message_id(delivery.reader.incarnation, event), body, delivery.now)
            except PointsmanError as error:
                if reached is not None:
                    return reached
                if isinstance(error, WebhookRefused) and self._is_over(event, delivery.now):
                    raise GivenUp(event.cursor, str(error)) from None
                raise
            self._refused_since = None
            reached = event.cursor
        return None if len(sent) <= POSTS_MAX else reached

    def _concerns(self, row: CaseRow) -> bool:
        return not self._declared.processes or row.process in self._declared.processes

    def _is_over(self, event: EventRow, now: float) -> bool:
        """Whether a message that was refused `now` is not sent again: it is old, and the receiver has had the time to come back."""
        if self._refused_since is None:
            self._refused_since = now
        tries = min(TRIES_SECONDS, self._give_up_seconds)
        return now - event.at >= self._give_up_seconds and now - self._refused_since >= tries

    async def _body(self, event: EventRow, row: CaseRow, reader: Reader) -> bytes:
        facts: Mapping[str, Any] = json.loads(event.facts)
        assignee = facts.get("assignee")
        if event.kind == Kind.PAUSED:
            pause = await reader.pause(event.case)
            assignee = pause.assignee if pause is not None and pause.revision == event.revision else None
        data: dict[str, Any] = {
            "case": event.case,
            "process": row.process,
            "step": plain_step(event.step or row.step or ""),
            "tenant": row.tenant,
        }
        page = f"{self._declared.pages.rstrip('/')}/cases/{event.case}"
        if event.kind in {Kind.PARKED, Kind.BLOCKED}:
            data["error"] = facts.get("error")
        else:
            data["assignee"], page = assignee, f"{page}/task"
        if self._declared.pages:
            data["url"] = page
        at = datetime.fromtimestamp(event.at, UTC).isoformat().replace("+00:00", "Z")
        return json.dumps({"type": WHAT[event.kind], "timestamp": at, "data": data}, separators=(",", ":")).encode()

    async def _post(self, number: str, body: bytes, now: float) -> None:
        headers = {"Content-Type": "application/json", **signed(number, body, now, self._secrets)}
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status = await self._answered(body, headers)
        except TimeoutError:
            raise WebhookRefused(f"{self._host} gave no answer within {TIMEOUT_SECONDS:.0f} seconds; look at its log.") from None
        except Exception as error:  # of a client, a proxy or a system; its text may have the address, and that a secret
            raise WebhookRefused(f"{self._host} was not reached ({type(error).__name__}); look whether it runs there.") from None
        if 300 <= status < 400:
            raise WebhookRefused(
                f"{self._host} answered with {status}, a redirect, which is not followed; name the address that it leads to."
            )
        if not 200 <= status < 300:
            raise WebhookRefused(f"{self._host} answered with {status}; look at its log.")

    async def _answered(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Post, and return the status of the answer. Its content means nothing and is not read."""
        async with AsyncExitStack() as stack:
            client = self._client
            if client is None:
                client = await stack.enter_async_context(httpx.AsyncClient(timeout=TIMEOUT_SECONDS))
            answer = await stack.enter_async_context(client.stream("POST", self._declared.url, content=body, headers=headers))
            return answer.status_code


def message_id(incarnation: str, event: EventRow) -> str:
    """The id of an event's message: the same whenever, and by whichever worker, it is sent."""
    text = f"{incarnation}/{event.case}/{event.revision}/{event.kind}/{event.step}"
    return f"msg_{sha256(text.encode()).hexdigest()[:32]}"


def signed(number: str, body: bytes, now: float, keys: Sequence[bytes]) -> dict[str, str]:
    """The three headers of Standard Webhooks for a message that is sent `now` (Unix seconds)."""
    timestamp = str(int(now))
    content = b".".join([number.encode(), timestamp.encode(), body])
    signatures = (base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
    return {"webhook-id": number, "webhook-timestamp": timestamp, "webhook-signature": " ".join(f"v1,{one}" for one in signatures)}


def webhooks_of(file: Path, environment: Mapping[str, str]) -> list[Webhook]:
    """Return the webhooks that a TOML file declares, each as a table `[[webhook]]`. Raises WebhookInvalid."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WebhookInvalid(f"{file} cannot be read as TOML ({error}); mend it, or name another file.") from None
    try:
        declared = _File.model_validate(tables).webhook
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WebhookInvalid(f"{file}: {where}: {first['msg']}; mend it there.") from None
    names = [one.name for one in declared]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise WebhookInvalid(f"{file}: two webhooks are called {twice!r}; rename one, because each has a cursor of its own.")
    return [Webhook(one, _secrets(one, environment)) for one in declared]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    webhook: list[Declared] = Field(min_length=1)


def _host(declared: Declared) -> str:
    """Where a webhook goes to. Its whole address is not shown, because it may have a secret in it. Raises WebhookInvalid."""
    try:
        address = httpx.URL(declared.url)
    except httpx.InvalidURL:
        address = httpx.URL()
    if address.scheme not in {"http", "https"} or not address.host or not 0 < (address.port or 1) < 65_536:
        raise WebhookInvalid(f"webhook {declared.name!r}: its url is not an address; write it as https://host/path.")
    return address.host


def _seconds(declared: Declared) -> float:
    try:
        return seconds_of(declared.give_up)
    except DefinitionError:
        raise WebhookInvalid(
            f'webhook {declared.name!r}: {declared.give_up!r} is not a duration for give_up; write it as "24h" or "3d".'
        ) from None


def _secrets(declared: Declared, environment: Mapping[str, str]) -> list[str]:
    if declared.secret.startswith(SECRET_PREFIX):
        raise WebhookInvalid(
            f"webhook {declared.name!r}: its secret stands in the file; put it into an environment variable, and name that with `secret`."
        )
    found = environment.get(declared.secret, "").split()
    if not found:
        raise WebhookInvalid(
            f"webhook {declared.name!r}: the environment variable {declared.secret} has no secret; set it to whsec_ and "
            f"{SECRET_BYTES_MIN} random bytes or more in base64."
        )
    return found


def _key(secret: str, declared: Declared) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True) if secret.startswith(SECRET_PREFIX) else b""
    except binascii.Error:
        key = b""
    if len(key) < SECRET_BYTES_MIN:
        raise WebhookInvalid(
            f"webhook {declared.name!r}: the secret in {declared.secret} is not whsec_ and {SECRET_BYTES_MIN} bytes or more in base64; make a new one."
        )
    return key
