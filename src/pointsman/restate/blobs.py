"""The service that stores blobs: large values that are kept beside the cases, so that a record has only their digests."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from restate import Context, Service
from restate.serde import BytesSerde

from pointsman.client.restate_names import BLOBS
from pointsman.store.blob_folder import Blobs


def blob_service(blobs: Blobs) -> Service:
    """The service that stores blobs. It has answered when the blob is stored, so a case never refers to one that is not."""
    service = Service(BLOBS, "The blobs of Pointsman.", journal_retention=timedelta(0))  # a journal has the whole content

    async def store_blob(_: Context, content: bytes) -> dict[str, Any]:
        return (await blobs.keep(content)).model_dump()

    handler: Callable[[Any], Any] = service.handler("store_blob", accept="*/*", input_serde=BytesSerde())
    handler(store_blob)
    service.handlers["store_blob"].handler_io.input_type = None  # with a schema of its input, the server refuses an empty blob
    return service
