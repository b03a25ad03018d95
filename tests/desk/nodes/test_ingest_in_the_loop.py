"""A small mail is taken in without a thread, because handing it over costs more than the work."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pointsman_desk.config import SAMPLE, DeskConfig
from pointsman_desk.nodes.ingest import ingest
from pointsman_desk.wiring import open_desk


def test_a_small_mail_is_taken_in_without_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = (SAMPLE / "mails" / "02-status-en.eml").read_bytes()
    handed_over: list[Callable[..., Any]] = []

    async def in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
        handed_over.append(work)
        return work(*arguments)

    async def main() -> str:
        async with open_desk(DeskConfig(home=tmp_path)) as desk:
            with monkeypatch.context() as watched:
                watched.setattr(asyncio, "to_thread", in_thread)
                return (await ingest(desk.engine, desk.process, raw, desk.conversations, now=desk.clock.now())).how

    assert asyncio.run(main()) == "started"
    assert handed_over == []
