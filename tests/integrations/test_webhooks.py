"""Webhooks are signed, sent at least once with one id, and miss nothing, whoever dies."""

import asyncio
import base64
import hmac
import json
import re
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from pointsman import Delivery, Engine, GivenUp, Process, State, finish, otherwise, park, remind, when
from pointsman.integrations import webhooks
from pointsman.integrations.webhooks import POSTS_MAX, Declared, Webhook, WebhookInvalid, WebhookRefused, signed, webhooks_of
from pointsman.store.memory import MemoryStore
from pointsman.testing.clock import ManualClock

T = TypeVar("T")

HANG_SECONDS = 60.0  # far beyond any test here
TEXT = "Mrs Smith of Elm Street"
KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
OTHER = "whsec_" + base64.b64encode(KEY[::-1]).decode()
FILE = """
[[webhook]]
name = "pager"
url = "https://hooks.example/pointsman"
secret = "PAGER"
"""


class Claim(State):
    text: str
    approval: str | None = None


def claims() -> Process[Claim]:
    """A claim is approved, with a reminder after an hour; one that is refused is parked."""
    process = Process("claims", Claim)
    approve = process.pause(
        writes="approval", answer=str, shows=("text",), assignee="ada", ladder=[remind("1h")], deadline=timedelta(days=9)
    )
    process.rules(
        when("unapproved", lambda c: c.approval is None, approve),
        when("refused", lambda c: c.approval == "no", park("it was refused")),
        otherwise(finish("paid")),
    )
    return process


class Receiver:
    """Answers with the statuses given, then with 204; keeps what it accepted, and what it was sent."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = [*statuses]
        self.sent: list[httpx.Request] = []
        self.taken: list[dict[str, Any]] = []
        self.came = asyncio.Event()

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        status = self.statuses.pop(0) if self.statuses else 204
        if status < 300:
            self.taken.append(json.loads(request.content))
        self.came.set()
        return httpx.Response(status)

    async def takes(self, number: int) -> None:
        while len(self.taken) < number:
            self.came.clear()
            await self.came.wait()

    def types(self) -> list[str]:
        return [message["type"] for message in self.taken]


def hook(receiver: Receiver, *secrets: str, **more: Any) -> Webhook:
    declared = Declared(name="pager", url="https://hooks.example/pointsman", secret="PAGER", **more)
    return Webhook(declared, secrets or [SECRET], client=receiver.client())


def run(main: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(HANG_SECONDS):
            return await main

    return asyncio.run(bounded())


def told(more: dict[str, Any], statuses: tuple[int, ...] = ()) -> Receiver:
    """What a receiver gets of a claim that is opened, reminded of, refused and parked."""

    async def main() -> Receiver:
        receiver, clock = Receiver(*statuses), ManualClock()
        async with Engine.open("unused", [claims()], store=MemoryStore(), clock=clock, subscribers=[hook(receiver, **more)]) as engine:
            case = (await engine.start("claims", {"text": TEXT})).case
            await engine.wait_until_resting(case)
            clock.advance(3_600.0)
            async for _ in engine.changes(since=-1):
                if (await engine.reader.pause(case)).rung:
                    break
            await engine.resume((await engine.pending(case)).token, "no", by="eve")
            await engine.wait_until_resting(case)
        return receiver

    return run(main())


def test_a_webhook_tells_of_tasks_reminders_and_parked_cases_without_what_is_in_them() -> None:
    receiver = told({"pages": "https://desk.example/"})

    case = receiver.taken[0]["data"]["case"]
    assert receiver.types() == ["task.opened", "task.reminded", "case.parked"]
    assert receiver.taken[0]["data"] == {
        "case": case, "process": "claims", "step": "approval", "tenant": "", "assignee": "ada", "url": f"https://desk.example/cases/{case}/task",
    }  # fmt: skip
    assert receiver.taken[0]["timestamp"].endswith("Z")
    assert receiver.taken[2]["data"]["error"] is None
    assert not any(TEXT.encode() in request.content or b"refused" in request.content for request in receiver.sent)


def test_a_message_is_signed_with_each_secret_over_its_id_its_time_and_its_bytes() -> None:
    async def main() -> httpx.Request:
        receiver = Receiver()
        async with Engine.open("unused", [claims()], store=MemoryStore(), subscribers=[hook(receiver, SECRET, OTHER)]) as engine:
            await engine.start("claims", {"text": TEXT})
            await receiver.takes(1)
        return receiver.sent[0]

    request = run(main())

    content = b".".join([request.headers["webhook-id"].encode(), request.headers["webhook-timestamp"].encode(), request.content])
    expected = [base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in (KEY, KEY[::-1])]
    assert request.headers["webhook-signature"] == f"v1,{expected[0]} v1,{expected[1]}"
    assert request.headers["webhook-id"].startswith("msg_")


def test_a_signature_is_that_of_the_standards_example() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    headers = signed("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1_614_265_330.9, [key])

    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_message_that_is_refused_is_sent_again_with_the_same_id_and_those_before_it_are_not() -> None:
    async def main() -> tuple[Receiver, str | None]:
        store, receiver = MemoryStore(), Receiver(204, 503, 500)
        async with Engine.open("unused", [claims()], store=store) as engine:
            for _ in range(2):
                await engine.wait_until_resting((await engine.start("claims", {"text": TEXT})).case)
        reached = await hook(receiver).deliver(Delivery(await store.events(), "", store, 0.0))
        assert reached is not None
        with pytest.raises(WebhookRefused, match=r"hooks\.example answered with 500; look at its log\."):
            await hook(receiver).deliver(Delivery(await store.events(after=reached), reached, store, 1.0))
        return receiver, await hook(receiver).deliver(Delivery(await store.events(after=reached), reached, store, 2.0))

    receiver, last = run(main())

    ids = [request.headers["webhook-id"] for request in receiver.sent]
    assert last is None
    assert ids == [ids[0], ids[1], ids[1], ids[1]]
    assert ids[0] != ids[1]


async def opened(number: int) -> MemoryStore:
    """A store in which so many tasks have been opened at second 0."""
    store = MemoryStore()
    async with Engine.open("unused", [claims()], store=store, clock=ManualClock(0.0)) as engine:
        for _ in range(number):
            await engine.wait_until_resting((await engine.start("claims", {"text": TEXT})).case)
    return store


def test_a_message_is_given_up_when_its_event_is_old_and_the_receiver_had_an_hour() -> None:
    async def main() -> tuple[list[type[Exception]], str]:
        store = await opened(1)
        events, webhook = await store.events(), hook(Receiver(*[503] * 5), give_up="2h")
        raised: list[type[Exception]] = []
        for now in (0.0, 7_199.0, 7_200.0):
            with pytest.raises((WebhookRefused, GivenUp)) as error:
                await webhook.deliver(Delivery(events, "", store, now))
            raised.append(error.type)
        late = hook(Receiver(*[503] * 5), give_up="2h")
        for now in (90_000.0, 90_000.0 + 3_599.0, 90_000.0 + 3_600.0):
            with pytest.raises((WebhookRefused, GivenUp)) as error:
                await late.deliver(Delivery(events, "", store, now))
            raised.append(error.type)
        assert isinstance(error.value, GivenUp)
        return raised, error.value.cursor

    raised, cursor = run(main())

    assert raised == [WebhookRefused, WebhookRefused, GivenUp] * 2
    assert cursor


def test_one_delivery_sends_few_messages_so_that_the_time_of_the_last_one_is_still_fresh() -> None:
    async def main() -> tuple[int, int]:
        store, receiver = await opened(POSTS_MAX + 1), Receiver()
        first = await hook(receiver).deliver(Delivery(await store.events(), "", store, 0.0))
        sent = len(receiver.sent)
        assert first is not None
        await hook(receiver).deliver(Delivery(await store.events(after=first), first, store, 0.0))
        return sent, len(receiver.sent)

    assert run(main()) == (POSTS_MAX, POSTS_MAX + 1)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            httpx.Response(302, headers={"Location": "https://other.example/"}),
            "hooks.example answered with 302, a redirect, which is not followed;",
        ),
        (
            httpx.ConnectError("https://hooks.example/a-secret-path"),
            "hooks.example was not reached (ConnectError); look whether it runs there.",
        ),
        (None, "hooks.example gave no answer within 0 seconds; look at its log."),
    ],
)
def test_what_a_receiver_does_instead_of_taking_a_message_is_told(
    answer: httpx.Response | Exception | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> str:
        async def transport(_: httpx.Request) -> httpx.Response:
            if answer is None:
                await asyncio.Event().wait()
            elif isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, httpx.Response)
            return answer

        store = await opened(1)
        declared = Declared(name="pager", url="https://hooks.example/a-secret-path", secret="PAGER")
        webhook = Webhook(declared, [SECRET], client=httpx.AsyncClient(transport=httpx.MockTransport(transport)))
        if answer is None:
            monkeypatch.setattr(webhooks, "TIMEOUT_SECONDS", 0.0)
        with pytest.raises(WebhookRefused) as raised:
            await webhook.deliver(Delivery(await store.events(), "", store, 0.0))
        return str(raised.value)

    said = run(main())

    assert says in said
    assert "secret" not in said


def test_a_webhook_hears_only_of_the_events_and_processes_that_it_names() -> None:
    parked, others = told({"events": ("case.parked",)}), told({"processes": ("orders",)})

    assert parked.types() == ["case.parked"]
    assert others.sent == []


def test_a_file_declares_webhooks_and_the_environment_has_their_secrets(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.toml"
    file.write_text(FILE, encoding="utf-8")

    [webhook] = webhooks_of(file, {"PAGER": f"{SECRET} {OTHER}"})

    assert webhook.name == "webhook pager"


def test_the_file_of_the_document_declares_a_webhook(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text(encoding="utf-8")
    file = tmp_path / "webhooks.toml"
    file.write_text(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0], encoding="utf-8")

    assert [webhook.name for webhook in webhooks_of(file, {"PAGER_SECRET": SECRET})] == ["webhook pager"]


@pytest.mark.parametrize(
    ("text", "secret", "says"),
    [
        (FILE, "", "the environment variable PAGER has no secret"),
        (FILE, "whsec_dG9vIHNob3J0", "the secret in PAGER is not whsec_ and 24 bytes or more in base64"),
        (FILE, base64.b64encode(KEY).decode(), "the secret in PAGER is not whsec_"),
        (FILE.replace("https://hooks.example/pointsman", "hooks.example"), SECRET, "webhook 'pager': its url is not an address"),
        (FILE.replace("hooks.example", "hooks.example:99999"), SECRET, "webhook 'pager': its url is not an address"),
        (FILE.replace("PAGER", SECRET), SECRET, "webhook 'pager': its secret stands in the file"),
        (FILE + 'give_up = "soon"', SECRET, "webhook 'pager': 'soon' is not a duration for give_up"),
        (FILE.replace("secret", "secrets"), SECRET, "webhook.0.secret: Field required; mend it there"),
        (FILE + FILE, SECRET, "two webhooks are called 'pager'"),
        ("[[webhook]", SECRET, "cannot be read as TOML"),
    ],
)
def test_a_file_that_cannot_be_used_says_how_to_mend_it(text: str, secret: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "webhooks.toml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(WebhookInvalid) as raised:
        webhooks_of(file, {"PAGER": secret})

    assert says in str(raised.value)
    assert not secret or secret not in str(raised.value)
