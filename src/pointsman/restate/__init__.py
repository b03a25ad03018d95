"""Run processes on Restate: each case is a virtual object, moved by the same case machine."""

from pointsman.restate.blobs import BlobFolder, Blobs
from pointsman.restate.client import Delivered, RestateClient, Started
from pointsman.restate.registering import register
from pointsman.restate.serving import restate_app, serve

__all__ = ["BlobFolder", "Blobs", "Delivered", "RestateClient", "Started", "register", "restate_app", "serve"]
