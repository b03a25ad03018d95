"""GET /metrics tells Prometheus what an operator has to know, and the dashboard and the alerts ask for nothing else."""

import asyncio
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import yaml
from starlette.requests import Request

from pointsman import AtMostOnce, CircuitBreaker, Delivery, Engine, Intake, Limit, Process, State, finish, otherwise, when
from pointsman.cli.main import COMMANDS
from pointsman.runtime.worker import Worker
from pointsman.server.access import LocalAccess, Principal
from pointsman.server.app import create_app
from pointsman.server.health import health_answering
from pointsman.server.metrics import AGES, METRICS, Sample, exposition
from pointsman.store.memory import MemoryStore
from pointsman.testing.clock import ManualClock
from server.serving import HANG_SECONDS, TOKEN, served

EXAMPLES = Path(__file__).parents[2] / "examples" / "telemetry"
LINE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
METRIC = re.compile(r"\bpointsman_\w+")
DAY = 86_400.0


class Nobody:
    """Knows no caller."""

    async def principal(self, _: Request) -> Principal | None:
        return None


class Listener:
    name = "listener"

    async def deliver(self, _: Delivery) -> None:
        """Take all in."""


class Order(State):
    item: str
    price: int | None = None
    approval: str | None = None
    receipt: str | None = None


def orders() -> Process[Order]:
    """An order waits for an approval; an approved one is paid, which nobody can tell of."""
    process = Process("orders", Order, intake=Intake(backlog_max=9))

    @process.node(writes="price")
    async def price(item: str) -> int:
        return len(item)

    approve = process.pause(writes="approval", answer=str, shows=("item",))

    @process.effect(
        writes="receipt", safety=AtMostOnce(), limit=Limit("bank", concurrency=2, breaker=CircuitBreaker(failures=1, cooldown_seconds=60))
    )
    async def pay(approval: str) -> str:
        raise RuntimeError(approval)

    process.rules(
        when("no price", lambda c: c.price is None, price),
        when("unapproved", lambda c: c.approval is None, approve),
        when("unpaid", lambda c: c.receipt is None, pay),
        otherwise(finish("paid")),
    )
    return process


async def scraped(app: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        return await client.get("/metrics")


def values(text: str) -> dict[str, float]:
    return {
        f"{found[1]}{{{found[2] or ''}}}": float(found[3])
        for line in text.splitlines()
        if not line.startswith("#") and (found := LINE.fullmatch(line))
    }


def test_the_metrics_say_what_waits_what_is_in_doubt_and_how_the_engine_is() -> None:
    clock = ManualClock()

    async def main() -> httpx.Response:
        async with Engine.open("unused", [orders()], store=MemoryStore(), clock=clock, subscribers=[Listener()]) as engine:
            first, second = [(await engine.start("orders", {"item": item})).case for item in ("pear", "plum")]
            await engine.wait_until_resting(first)
            await engine.wait_until_resting(second)
            await engine.resume((await engine.pending(first)).token, "yes", by="eve")
            await engine.wait_until_resting(first)
            clock.advance(2 * DAY)
            await engine.pause_intake(by="eve", why="we move")
            return await scraped(create_app(engine, LocalAccess("ada", TOKEN)))

    answer = asyncio.run(main())

    found = values(answer.text)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert {name.partition("{")[0] for name in found} == set(METRICS)
    assert found['pointsman_cases{process="orders",status="waiting",place="approval"}'] == 1
    assert found['pointsman_cases{process="orders",status="parked",place="pay"}'] == 1
    assert found['pointsman_tasks{process="orders",pause="approval"}'] == 1
    assert [found[f'pointsman_tasks_older{{age="{age}"}}'] for age in AGES] == [1, 1, 1, 0, 0]
    assert found["pointsman_task_oldest_seconds{}"] == 2 * DAY
    assert (found["pointsman_effects_in_doubt{}"], found["pointsman_effect_in_doubt_oldest_seconds{}"]) == (1, 2 * DAY)
    assert (found['pointsman_backlog{process="orders"}'], found['pointsman_backlog_max{process="orders"}']) == (0, 9)
    assert (found["pointsman_engine_ready{}"], found["pointsman_intake_paused{}"]) == (1, 1)
    assert found['pointsman_limit_concurrency{limit="bank"}'] == 2


def test_who_may_not_look_at_cases_gets_no_metrics(tmp_path: Path) -> None:
    async def main() -> int:
        async with served(tmp_path, Nobody()) as (_, client):
            return (await client.get("/metrics")).status_code

    assert asyncio.run(main()) == 401


def test_a_worker_tells_its_metrics_where_it_is_asked_about_its_health(tmp_path: Path) -> None:
    async def main() -> tuple[str, str]:
        worker = Worker(lambda: Engine.open(tmp_path / "cases.db", [orders()]))
        async with health_answering(worker, "127.0.0.1", 0) as url, httpx.AsyncClient(timeout=HANG_SECONDS) as client:
            before = (await client.get(f"{url}/metrics")).text
            async with worker.working():
                return before, (await client.get(f"{url}/metrics")).text

    before, text = asyncio.run(main())

    assert values(before) == {"pointsman_engine_ready{}": 0}
    assert values(text)["pointsman_engine_ready{}"] == 1
    assert values(text)['pointsman_backlog{process="orders"}'] == 0


def test_a_label_can_have_any_text_and_a_number_all_its_digits() -> None:
    text = exposition([Sample("pointsman_cases", {"place": 'a "b"\\\n'}, 12_345_678), Sample("pointsman_task_oldest_seconds", {}, 0.25)])

    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines == [r'pointsman_cases{place="a \"b\"\\\n"} 12345678', "pointsman_task_oldest_seconds 0.25"]


def expressions() -> Iterable[str]:
    for group in yaml.safe_load((EXAMPLES / "alerts.yaml").read_text(encoding="utf-8"))["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads((EXAMPLES / "dashboard.json").read_text(encoding="utf-8"))["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_exist() -> None:
    asked = {metric for expression in expressions() for metric in METRIC.findall(expression)}

    assert len(asked) > 10
    assert asked <= set(METRICS)


def test_each_alert_says_what_to_do_with_commands_that_exist() -> None:
    rules = [rule for group in yaml.safe_load((EXAMPLES / "alerts.yaml").read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]

    told = " ".join(rule["annotations"]["description"] for rule in rules)
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] in {"page", "ticket"} for rule in rules)
    assert all(command in COMMANDS for command in re.findall(r"`pointsman ([\w-]+)", told))


def test_the_table_of_the_document_is_that_of_the_code() -> None:
    rows = re.findall(
        r"^\| `(pointsman_\w+)` \| (.*) \|$", (EXAMPLES.parents[1] / "docs" / "telemetry.md").read_text(encoding="utf-8"), re.MULTILINE
    )

    assert rows == [(name, told) for name, (_, told) in METRICS.items()]
