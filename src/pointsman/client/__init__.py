"""Talk to a running engine over HTTP: the clients, and what the API takes and returns.

`reach` does something through the program that has a database open, or alone if there is none.
"""

from pointsman.client.calls import Call
from pointsman.client.http import AsyncClient, Client
from pointsman.client.problems import CallRefused, Unreachable
from pointsman.client.running import find_running, reach, when_free
from pointsman.client.schemas import CaseFilters, TaskFilters

__all__ = [
    "AsyncClient",
    "Call",
    "CallRefused",
    "CaseFilters",
    "Client",
    "TaskFilters",
    "Unreachable",
    "find_running",
    "reach",
    "when_free",
]
