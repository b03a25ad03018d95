"""Large values that are kept beside the cases, each under the digest of its content: as files in a folder, or wherever `Blobs` are kept."""

import asyncio
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from pointsman.definition.state import Blob
from pointsman.errors import PointsmanError, StoreError
from pointsman.store.memory import MemoryStore

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Blobs(Protocol):
    """Keeps large values. What `keep` has returned is durable, and all programs that serve the processes can read it."""

    async def keep(self, content: bytes) -> Blob:
        """Store a value under its digest. The same value may be stored again, also by two programs at once."""

    async def blob(self, blob: Blob) -> bytes | None:
        """The content of a blob, or None."""

    async def has(self, blob: Blob) -> bool:
        """Whether a blob has been stored. This need not read its content."""


class BlobFolder:
    """Blobs as files in a folder, which is made if it is missing. Programs on several machines need it on a disk that they share.

    Nothing deletes a file. Raises StoreError if the folder cannot be made or written.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder):
                pass
        except OSError as error:
            raise StoreError(
                f"no blobs can be kept in the folder {folder} ({error.strerror}); name another one, or let this user write there."
            ) from None

    async def keep(self, content: bytes) -> Blob:
        """Store a value. Raises OSError."""
        return await asyncio.to_thread(self._write, content)

    async def blob(self, blob: Blob) -> bytes | None:
        """The content of a blob, or None if it is missing or damaged."""
        if not _DIGEST.fullmatch(blob.sha256):
            return None
        with suppress(FileNotFoundError):
            content = await asyncio.to_thread((self._folder / blob.sha256).read_bytes)
            return content if Blob.of(content) == blob else None
        return None

    async def has(self, blob: Blob) -> bool:
        """Whether there is a file of this name and size."""
        if not _DIGEST.fullmatch(blob.sha256):
            return False
        with suppress(FileNotFoundError):
            return (await asyncio.to_thread((self._folder / blob.sha256).stat)).st_size == blob.size
        return False

    def _write(self, content: bytes) -> Blob:
        """Write a file, and give it its name when all of it is on the disk, so that no name has a part of a value."""
        blob = Blob.of(content)
        handle, written = tempfile.mkstemp(dir=self._folder, prefix="new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(written).replace(self._folder / blob.sha256)
        finally:
            Path(written).unlink(missing_ok=True)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return blob


def blobs_in(value: object) -> Iterator[Blob]:
    """The blobs that a value names, also deep inside."""
    if isinstance(value, Blob):
        yield value
    parts: Iterable[object] = ()
    if isinstance(value, BaseModel):
        parts = vars(value).values()
    elif isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, Collection) and not isinstance(value, str | bytes):
        parts = value
    for part in parts:
        yield from blobs_in(part)


async def check_blobs(blobs: Blobs | None, value: object, error: type[PointsmanError]) -> None:
    """Raise this `error` if a value names a blob that is not stored."""
    for blob in {*blobs_in(value)}:
        if blobs is None or not await blobs.has(blob):
            raise error(f"blob {blob.sha256[:12]} is not in the store; store it with store_blob, and name what that returns.")


class NoCases(MemoryStore):
    """A store that has no cases, and reads blobs elsewhere."""

    def __init__(self, blobs: Blobs | None) -> None:
        super().__init__()
        self._blobs = blobs

    async def blob(self, blob: Blob) -> bytes | None:
        """The content of a blob, or None."""
        return None if self._blobs is None else await self._blobs.blob(blob)
