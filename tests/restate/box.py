"""A process whose letters are blobs, and the store of these blobs, whose program dies when it has stored one that says so."""

import os
import signal
from typing import Any

from outside import Files
from pydantic import BaseModel

from pointsman import Blob, Context, Process, State, finish, otherwise, when
from pointsman.restate import BlobFolder

DEADLY = b"the program dies when it has stored this"


class Letter(BaseModel):
    raw: Blob


class Box(State):
    letter: Letter
    text: str | None = None


def letters() -> Process[Any]:
    box = Process("letters", Box)

    @box.node(writes="text")
    async def read(letter: Letter, *, ctx: Context) -> str:
        return (await ctx.read(letter.raw)).decode()

    box.rules(when("not read yet", lambda c: c.text is None, read), otherwise(finish("read")))
    return box


class Deadly(BlobFolder):
    """A folder of blobs, where the program dies once between the write of a blob and the answer."""

    def __init__(self, outside: Files) -> None:
        super().__init__(outside.folder / "blobs")
        self._outside = outside

    async def keep(self, content: bytes) -> Blob:
        blob = await super().keep(content)
        if content == DEADLY and self._outside.first("blob"):
            os.killpg(0, signal.SIGKILL)  # the server of this program is a process of its own, and would notice the death of this one late
        return blob
