"""An own FastAPI application with an engine inside."""

import asyncio
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI

from pointsman import Engine, EngineStopped
from pointsman.integrations.fastapi import Pointsman
from pointsman.server.access import LocalAccess
from server.serving import TOKEN, claims


def test_an_own_application_mounts_the_api_and_the_pages(tmp_path: Path) -> None:
    pointsman = Pointsman(tmp_path / "cases.db", [claims], access=LocalAccess("ada", TOKEN))
    app = FastAPI(lifespan=pointsman.lifespan)
    app.mount("/cases", pointsman.app)

    @app.post("/report")
    async def report(text: str, engine: Annotated[Engine, Depends(pointsman.engine)]) -> int:
        case = (await engine.start(claims, {"text": text})).case
        await engine.wait_until_resting(case)
        return case

    async def body() -> None:
        transport = httpx.ASGITransport(app)
        async with pointsman.lifespan(app), httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            case = (await client.post("/report", params={"text": "fire"})).json()
            task = (await client.get(f"/cases/api/v1/cases/{case}/task")).json()
            page = await client.get("/cases/")

            assert task["shown"]["text"] == "fire"
            assert page.status_code == 200
            assert 'href="/cases/static/pointsman.css"' in page.text
        with pytest.raises(EngineStopped):
            pointsman.engine()

    asyncio.run(body())
