"""Register a program with a Restate server, which then calls it."""

import json
import re
from collections.abc import Collection
from shlex import quote
from typing import Any

import httpx

from pointsman.client.http import is_address
from pointsman.client.restate import RestateClient
from pointsman.client.restate_admin import AdminApi, told
from pointsman.client.restate_names import NAME, PROCESSES, SCHEDULE, SCHEDULES
from pointsman.errors import Refused, StoreAway, StoreError

REGISTERING_SECONDS = 30.0  # the server asks the program what it serves before it answers
SERVER_MIN = (1, 7)  # the tests run it; an earlier one may not carry who answered first, and would try such an answer again for ever
UNREACHABLE = "META0003"  # Restate's number for an address that it cannot call


async def register(admin: str, address: str, *, without: Collection[str] = (), ingress: str | None = None) -> None:
    """Register the program at `address` with the server whose admin API is at `admin`. It takes the calls of all cases from now on.

    Then its schedules begin, or follow its code. That is a call at `ingress`, where the server takes calls, or where it says that it does.

    It may be registered again after its code has changed: a journal has the same shape under every version of the code. Raises Refused if it
    lacks a process that was served, unless that is one of `without`, StoreAway if the server does not answer or cannot call the program, and
    StoreError if one of the addresses is none, or the server is older than `SERVER_MIN`.
    """
    if not is_address(address):
        raise StoreError(f"{address!r} is no address of a server; write --address with http:// or https://, such as http://127.0.0.1:9080.")
    async with AdminApi(admin, REGISTERING_SECONDS) as api:
        deployment = {"uri": address, "force": True}
        found = _taken(api, address, await api.ask("POST", "/deployments", deployment | {"dry_run": True}))
        newest = await api.ask("GET", f"/services/{NAME}")
        lacks = _lacks([told(newest)] if newest.is_success else [], found["services"]) - {*without}
        if lacks:
            raise Refused(
                f"the program at {address} does not serve {', '.join(sorted(lacks))}, as the one before it does; name a list of all processes "
                f"with --app, or let them go with{''.join(f' --without {quote(name)}' for name in sorted(lacks))}."
            )
        about = told(await api.ask("GET", "/version"))
        _check_version(api, str(about.get("version")))
        schedules = _named(found["services"], SCHEDULE, SCHEDULES) or []
        takes_calls = _ingress(api, ingress or about.get("ingress_endpoint")) if schedules else ""
        _taken(api, address, await api.ask("POST", "/deployments", deployment))
    if schedules:
        async with RestateClient(takes_calls) as client:
            for process, name in schedules:
                # Unchecked: another node of a cluster may still call the program before this one.
                await client.begin_schedule(process, name, check=False)


def _check_version(api: AdminApi, version: str) -> None:
    """Raise StoreError for a server that is too old. What is no version is not judged."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is not None and (int(numbers[1]), int(numbers[2])) < SERVER_MIN:
        needs = ".".join(map(str, SERVER_MIN))
        raise StoreError(f"the Restate server at {api.url} has version {version}, and Pointsman needs {needs} or later; update the server.")


def _ingress(api: AdminApi, named: str | None) -> str:
    """Where the server takes calls. Raises StoreError if nobody says that."""
    if not named:
        raise StoreError(f"the Restate server at {api.url} does not tell where it takes calls; name that with --ingress.")
    return named


def _taken(api: AdminApi, address: str, response: httpx.Response) -> dict[str, Any]:
    """What the server tells of a program that it has taken. Raises StoreAway."""
    answer = told(response)
    if response.is_success and "services" in answer:
        return answer
    if "restate_code" not in answer:
        raise api.foreign(response)
    if answer["restate_code"] == UNREACHABLE:
        raise StoreAway(
            f"the Restate server at {api.url} cannot call this program at {address}; correct --address: name where the server reaches it."
        )
    raise StoreAway(f"the Restate server at {api.url} refused {address}: {answer.get('message')}")


def _lacks(newest: list[dict[str, Any]], found: list[dict[str, Any]]) -> set[str]:
    """The processes that the newest program serves and the found one does not."""
    served, serves = _named(newest, NAME, PROCESSES), _named(found, NAME, PROCESSES)
    return set() if served is None or serves is None else {*served} - {*serves}


def _named(services: list[dict[str, Any]], service: str, metadata: str) -> list[Any] | None:
    """What the metadata of a service lists, or None if these services do not have it."""
    texts = [one.get("metadata", {}).get(metadata) for one in services if one.get("name") == service]
    return list(json.loads(texts[0])) if texts and texts[0] else None
