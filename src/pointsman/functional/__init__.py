"""The functional front: an entrypoint is a function, its tasks are recorded, and it waits, crashes and goes on like any case."""

from pointsman.functional.asking import interrupt, now, pause, random, sleep, uuid
from pointsman.functional.body import Call, TaskFailed, TaskTimeout
from pointsman.functional.checkpointer import Checkpointer
from pointsman.functional.entrypoints import Command, Entrypoint, Paused, ThreadBusy, ThreadCancelled, ThreadParked, entrypoint
from pointsman.functional.gathering import Gathered, gather
from pointsman.functional.mistakes import ArgumentsInvalid, FutureUsed
from pointsman.functional.tasks import INJECTED, Future, Task, task

__all__ = [
    "INJECTED",
    "ArgumentsInvalid",
    "Call",
    "Checkpointer",
    "Command",
    "Entrypoint",
    "Future",
    "FutureUsed",
    "Gathered",
    "Paused",
    "Task",
    "TaskFailed",
    "TaskTimeout",
    "ThreadBusy",
    "ThreadCancelled",
    "ThreadParked",
    "entrypoint",
    "gather",
    "interrupt",
    "now",
    "pause",
    "random",
    "sleep",
    "task",
    "uuid",
]
