"""Serve an engine to people and programs: the HTTP API, who may do what, and the running program.

A program with commands of its own adds their routes with the last argument of `served`.
"""

from pointsman.runtime.listening import CannotListen
from pointsman.server.access import Scope, acting, permit, tell_audit
from pointsman.server.account_tables import AccountsError
from pointsman.server.accounts import record
from pointsman.server.problems import problem
from pointsman.server.program import Serving, SignInNeeded, served
from pointsman.server.running import answering

__all__ = [
    "AccountsError",
    "CannotListen",
    "Scope",
    "Serving",
    "SignInNeeded",
    "acting",
    "answering",
    "permit",
    "problem",
    "record",
    "served",
    "tell_audit",
]
