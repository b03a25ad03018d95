"""Talk to a running engine over HTTP: the clients, and what the API takes and returns."""

from pointsman.client.http import AsyncClient, Client
from pointsman.client.problems import CallRefused, Unreachable

__all__ = ["AsyncClient", "CallRefused", "Client", "Unreachable"]
