"""Blobs of cases on Restate: stored before a case refers to them, in a folder that the programs share."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from box import DEADLY, letters
from objects_in_memory import Died, Objects
from pydantic import BaseModel
from restate import TerminalError

from pointsman import Blob, Process, State, finish, otherwise, when
from pointsman.errors import StoreAway, StoreError
from pointsman.restate import BlobFolder, RestateClient
from pointsman.restate.work import Work
from pointsman.testing.clock import ManualClock
from restate_server import Server, Service


class Dying(BlobFolder):
    """A folder whose program dies once, when a value has been written."""

    died = False

    async def keep(self, content: bytes) -> Blob:
        blob = await super().keep(content)
        if not self.died:
            self.died = True
            raise Died
        return blob


def in_memory(blobs: BlobFolder) -> Objects:
    objects = Objects(ManualClock())
    objects.serve(Work([letters()], blobs=blobs, clock=objects.clock, random=Random(7)))
    return objects


async def read_on(objects: Objects, blob: dict[str, Any]) -> dict[str, Any]:
    await objects.call("start", "letters:1", {"seed": "one", "inputs": {"letter": {"raw": blob}}})
    await objects.work()
    shown: dict[str, Any] = await objects.call("show", "letters:1")
    return shown


def test_a_node_reads_a_blob_that_was_stored_before_its_program_died(tmp_path: Path) -> None:
    objects = in_memory(Dying(tmp_path))

    async def story() -> dict[str, Any]:
        return await read_on(objects, await objects.call("store_blob", "", b"a letter"))

    shown = asyncio.run(story())

    assert objects.deaths == 1
    assert (shown["outcome"], shown["fields"]["text"]) == ("read", "a letter")
    assert [file.name for file in tmp_path.iterdir()] == [Blob.of(b"a letter").sha256]


class Photo(BaseModel):
    thread: str
    photo: Blob


class Album(State):
    first: Photo
    second: Photo | None = None


def albums() -> Process[Any]:
    """Cases that start with a photo, take another one as a message, and ask a person for the last one."""
    album = Process("albums", Album)
    album.accept(Photo, writes="first", correlate=lambda sent: sent.thread)
    ask = album.pause(writes="second", answer=Photo, shows=("first",))
    album.rules(when("no second photo", lambda c: c.second is None, ask), otherwise(finish("full")))
    return album


def test_a_start_a_message_an_answer_and_a_correction_that_name_a_blob_which_nobody_stored_are_refused(tmp_path: Path) -> None:
    objects = Objects(ManualClock())
    objects.serve(Work([albums()], blobs=BlobFolder(tmp_path), clock=objects.clock, random=Random(7)))

    async def refusal(handler: str, key: str, asked: dict[str, Any]) -> str:
        with pytest.raises(TerminalError) as told:
            await objects.call(handler, key, asked)
        return told.value.message

    async def story() -> list[str]:
        absent = {"thread": "a", "photo": {"sha256": "0" * 64, "size": 3}}
        there = {"thread": "a", "photo": await objects.call("store_blob", "", b"a photo")}
        refused = [await refusal("start", "albums:1", {"seed": "one", "inputs": {"first": absent}})]
        refused.append(await refusal("send", "", {"process": "albums", "message": absent}))
        await objects.call("start", "albums:1", {"seed": "one", "inputs": {"first": there}})
        await objects.work()
        answer = {"token": (await objects.call("show", "albums:1"))["pause"]["token"], "by": "ada"}
        refused.append(await refusal("answer", "albums:1", {**answer, "answer": absent}))
        refused.append(await refusal("redrive", "albums:1", {"by": "ada", "why": "a better photo", "fields": {"first": absent}}))
        await objects.call("answer", "albums:1", {**answer, "answer": there})
        return refused

    refused = asyncio.run(story())

    why = "blob 000000000000 is not in the store; store it with store_blob, and name what that returns."
    assert refused == [f"{error}: {why}" for error in ("InputInvalid", "InputInvalid", "AnswerInvalid", "Refused")]


def test_the_record_of_a_case_has_the_digest_of_a_blob_and_not_its_content(tmp_path: Path) -> None:
    content = b"a letter that is long" * 1_000
    objects = in_memory(BlobFolder(tmp_path))

    async def story() -> None:
        blob = await objects.call("store_blob", "", content)
        await objects.call("start", "letters:1", {"seed": "one", "inputs": {"letter": {"raw": blob}}})

    asyncio.run(story())

    record = objects.states["letters:1"]["case"]
    assert Blob.of(content).sha256.encode() in record
    assert content not in record


def test_a_case_on_a_server_reads_blobs_whose_programs_died_before_they_answered(restate: Server, tmp_path: Path) -> None:
    contents = (DEADLY, b"", bytes(range(1, 128)) * 1_000)

    async def story() -> list[int]:
        async with RestateClient(restate.ingress) as cases:
            with pytest.raises(StoreAway, match="no program that serves this is registered"):
                await cases.store_blob(b"nobody stores it")
            restate.register(service.url)
            blobs = [await insisted(lambda content=content: cases.store_blob(content)) for content in contents]
            service.kill()
            restate.kill()
            starts = [lambda blob=blob: cases.start("letters", {"letter": {"raw": blob}}, key=blob.sha256) for blob in blobs]
            return [(await insisted(start)).case for start in starts]

    with Service("box_service:app", {"OUTSIDE": str(tmp_path)}) as service:
        shown = [read(restate, case) for case in asyncio.run(story())]

    assert [one["fields"]["text"] for one in shown] == [content.decode() for content in contents]
    assert (tmp_path / "first blob").exists()
    assert len([*(tmp_path / "blobs").iterdir()]) == len(contents)


async def insisted(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask for what may be asked for twice, again if a busy machine does not answer in time."""
    while True:
        with suppress(StoreAway):
            return await ask()


def read(restate: Server, case: int) -> dict[str, Any]:
    """The case, when its letter has been read."""
    shown: dict[str, Any] = {}
    restate.until(lambda: shown.update(restate.call(f"/PointsmanCase/letters:{case}/show")) or shown["status"] == "done")
    return shown


@pytest.mark.parametrize("place", ["file", "file/folder", "/proc"])
def test_a_folder_that_cannot_be_made_or_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / place

    with pytest.raises(
        StoreError, match=rf"no blobs can be kept in the folder {folder} \(.*\); name another one, or let this user write there"
    ):
        BlobFolder(folder)
