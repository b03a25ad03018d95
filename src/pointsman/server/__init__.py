"""Serve an engine to people and programs: the HTTP API, who may do what, and the running program.

A program with commands of its own adds routes to the application that `create_app` returns, and serves it with `listening`.
"""

from pointsman.server.access import LocalAccess, Scope, permit
from pointsman.server.app import create_app
from pointsman.server.problems import problem
from pointsman.server.running import CannotListen, listening

__all__ = ["CannotListen", "LocalAccess", "Scope", "create_app", "listening", "permit", "problem"]
