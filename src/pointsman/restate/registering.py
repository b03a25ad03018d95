"""Register a program with a Restate server, which then calls it."""

import json
from collections.abc import Collection
from typing import Any

import httpx

from pointsman.errors import Refused, StoreAway
from pointsman.restate.record import NAME, PROCESSES

REGISTERING_SECONDS = 30.0  # the server asks the program what it serves before it answers
UNREACHABLE = "META0003"  # Restate's number for an address that it cannot call


async def register(admin: str, address: str, *, without: Collection[str] = ()) -> None:
    """Register the program at `address` with the server whose admin API is at `admin`. It takes the calls of all cases from now on.

    It may be registered again after its code has changed: a journal has the same shape under every version of the code. Raises Refused if it
    lacks a process that was served, unless that is one of `without`, and StoreAway if the server does not answer or cannot call the program.
    """
    for option, url in (("--admin", admin), ("--address", address)):
        if not url.startswith(("http://", "https://")):
            raise StoreAway(f"{option} {url} is not a URL; write it as http://HOST:PORT.")
    try:
        async with httpx.AsyncClient(base_url=admin, timeout=REGISTERING_SECONDS, trust_env=False) as http:
            deployment = {"uri": address, "force": True}
            found = _told(admin, address, await http.post("/deployments", json=deployment | {"dry_run": True}))
            newest = await http.get(f"/services/{NAME}")
            lacks = _lacks([newest.json()] if newest.is_success else [], found["services"]) - {*without}
            if lacks:
                raise Refused(
                    f"the program at {address} does not serve {', '.join(sorted(lacks))}, as the one before it does; name a list of all processes "
                    f"with --app, or let them go with{''.join(f' --without {name}' for name in sorted(lacks))}."
                )
            _told(admin, address, await http.post("/deployments", json=deployment))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise StoreAway(f"the Restate server at {admin} does not answer ({type(error).__name__}); start it, or correct --admin.") from None


def _told(admin: str, address: str, response: httpx.Response) -> dict[str, Any]:
    """What the admin API answered. Raises StoreAway."""
    try:
        told = response.json()
    except ValueError:
        told = None
    if isinstance(told, dict) and response.is_success and "services" in told:
        return told
    if not isinstance(told, dict) or "restate_code" not in told:
        raise StoreAway(
            f"{admin} is not the admin API of a Restate server; correct --admin: its port is 9070 unless the server's settings name another."
        )
    if told["restate_code"] == UNREACHABLE:
        raise StoreAway(
            f"the Restate server at {admin} cannot call this program at {address}; correct --address: name where the server reaches it."
        )
    raise StoreAway(f"the Restate server at {admin} refused {address}: {told.get('message')}")


def _lacks(newest: list[dict[str, Any]], found: list[dict[str, Any]]) -> set[str]:
    """The processes that the newest program serves and the found one does not."""
    served, serves = _processes(newest), _processes(found)
    return set() if served is None or serves is None else served - serves


def _processes(services: list[dict[str, Any]]) -> set[str] | None:
    """The processes of a program, or None if these services do not name them."""
    told = [one.get("metadata", {}).get(PROCESSES) for one in services if one["name"] == NAME]
    return {*json.loads(told[0])} if told and told[0] else None
