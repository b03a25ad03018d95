"""The search: a case is found by its customer, its order, its subject and its text."""

import asyncio
import re
from pathlib import Path

import pytest

from desk.web.desks import client_of, desk_with


def test_a_case_is_found_by_customer_order_subject_and_text(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path) as desk, client_of(desk) as client:

            async def found(text: str) -> list[str]:
                html = (await client.get("/search", params={"q": text})).text
                return re.findall(r'data-row="(\d+)"', html)

            assert "1" in await found("maria.keller@mail.example")
            assert "1" in await found("A-1001")
            assert await found("Linen curtains") == ["1"]
            assert await found("monday refund shipping") == ["1"]
            assert "11" in await found("third time")
            assert await found("nobody wrote this") == []
            assert await found("keller third") == []

    asyncio.run(body())


@pytest.mark.parametrize("text", ['"', "a* OR b", "NEAR(", "<script>", "%00", "'; DROP TABLE cases"])
def test_what_is_searched_for_is_words_and_nothing_else(tmp_path: Path, text: str) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, []) as desk, client_of(desk) as client:
            answer = await client.get("/search", params={"q": text, "after": "no cursor"})

            assert answer.status_code == 200
            assert "<script>" not in answer.text.partition("<main")[2]

    asyncio.run(body())
