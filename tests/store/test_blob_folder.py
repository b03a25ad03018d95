"""Blobs in a folder: a value is read only if it is whole."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pointsman import Blob
from pointsman.store.blob_folder import BlobFolder


def torn(folder: Path, blob: Blob) -> None:
    (folder / blob.sha256).write_bytes(b"a let")


def gone(folder: Path, blob: Blob) -> None:
    (folder / blob.sha256).unlink()


@pytest.mark.parametrize("harm", [torn, gone])
def test_a_blob_that_is_damaged_or_gone_is_not_read(tmp_path: Path, harm: Callable[[Path, Blob], None]) -> None:
    folder = BlobFolder(tmp_path)

    async def story() -> tuple[bool, bool, bytes | None]:
        blob = await folder.keep(b"a letter")
        stored = await folder.has(blob)
        harm(tmp_path, blob)
        return stored, await folder.has(blob), await folder.blob(blob)

    assert asyncio.run(story()) == (True, False, None)


def test_a_reference_that_is_no_digest_names_no_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"abc")
    folder = BlobFolder(tmp_path / "blobs")

    async def story() -> tuple[bool, bytes | None]:
        blob = Blob(sha256="../secret", size=3)
        return await folder.has(blob), await folder.blob(blob)

    assert asyncio.run(story()) == (False, None)
