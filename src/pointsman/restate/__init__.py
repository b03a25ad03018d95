"""Run processes on Restate: each case is a virtual object, moved by the same case machine."""

from pointsman.client.restate import RestateClient
from pointsman.client.restate_registering import register
from pointsman.restate.serving import restate_app, serve
from pointsman.store.blob_folder import BlobFolder, Blobs

__all__ = ["BlobFolder", "Blobs", "RestateClient", "register", "restate_app", "serve"]
