"""The admin API of a Restate server."""

from typing import Any, Self

import httpx

from pointsman.client.http import is_address
from pointsman.errors import StoreAway, StoreError


class AdminApi:
    """The admin API at `url`. A request takes at most so many `seconds`. Open it with `async with`. Raises StoreError if `url` is no address."""

    def __init__(self, url: str, seconds: float) -> None:
        if not is_address(url):
            raise StoreError(f"{url!r} is no address of a server; write --admin with http:// or https://, such as http://127.0.0.1:9070.")
        self.url = url
        self._http = httpx.AsyncClient(base_url=url, timeout=seconds, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        """What the server answers to a request with this JSON. Raises StoreAway if it does not answer."""
        try:
            return await self._http.request(method, path, json=body, headers={"Accept": "application/json"})
        except httpx.HTTPError as error:
            raise StoreAway(
                f"the Restate server at {self.url} does not answer ({type(error).__name__}); start it, or correct --admin."
            ) from None

    def foreign(self, response: httpx.Response) -> StoreAway:
        """Why nothing is known after an answer that no admin API gives."""
        return StoreAway(f"no admin API of a Restate server answers at {self.url} (HTTP {response.status_code}); correct --admin.")


def told(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer; empty if it is none."""
    try:
        value = response.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
