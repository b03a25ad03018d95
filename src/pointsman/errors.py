"""The library's errors, sorted by who must act. Each message is one sentence that names the thing and the fix."""

from typing import Any


class PointsmanError(Exception):
    """The base class of every error that the library raises on purpose."""


# The author acts: the definition of a process is wrong.


class DefinitionError(PointsmanError):
    """A process, a node, an effect, a pause or a rule is declared in a way that cannot work."""


# How a call ended. Effects raise some of these themselves.


class NotSent(PointsmanError):
    """Raise this in an effect when the call certainly changed nothing outside. The engine may try again under any safety policy.

    `retry_after` is the minimum number of seconds to wait, if the other side named one.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = float(retry_after) if isinstance(retry_after, int | float) else None


class NotBegun(NotSent):
    """The engine did not begin the call, because its time had passed or no thread was free. It does not count as a failure of the resource."""


class AllHang(NotBegun):
    """Calls that timed out and never return occupy all threads, so no plain function can be called."""


class NoModelResponse(PointsmanError):
    """A model gave no readable response. The provider may still charge for the question.

    `retry_after` is the minimum number of seconds to wait, if the other side named one.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Rejected(PointsmanError):
    """Raise this in an effect when the other side definitely refused. The effect has failed, and the engine does not try again."""


class SubprocessCrashed(PointsmanError):
    """The subprocess of an isolated node ended before its function returned: killed, out of memory, or by `os._exit`."""


class BudgetSpent(PointsmanError):
    """A guarded node was refused before its call, because a budget is spent."""


class CheckError(PointsmanError):
    """A guard's check raised an exception instead of returning its violations."""


# The caller acts: an argument or the moment is wrong.


class InputInvalid(PointsmanError):
    """The inputs of a start do not fit the state of the process."""


class ValueRefused(PointsmanError):
    """A value cannot be stored: NaN, an infinity, a lone surrogate, a NUL, a type that does not read back equal from JSON, or one too large."""


class UnknownProcess(PointsmanError):
    """No process of this name is registered with the engine."""


class UnknownCase(PointsmanError):
    """No case has the number `case`, or none of this `process`, if one is named."""

    def __init__(self, case: int, process: str = "") -> None:
        super().__init__(f"there is no case {case}{process and f' of process {process!r}'}; look for its number in the list of cases.")
        self.case = case


class Refused(PointsmanError):
    """A start, an answer or an operator's command was refused. The message says why; nothing was changed."""


class VersionNotAccepted(Refused):
    """No registered version of the process can run the case: none accepts its version, or a migration failed."""


class Busy(Refused):
    """A start was refused because the intake is full. Nothing was stored. Try again in `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AnswerInvalid(Refused):
    """The answer does not fit the type that the pause asks for."""


class NotWaiting(Refused):
    """The case is not waiting for this answer: it has not reached the pause yet, or has left it."""


class AlreadyAnswered(Refused):
    """Another answer came first. `by` is the person who gave it."""

    def __init__(self, message: str, *, by: str) -> None:
        super().__init__(message)
        self.by = by


class Stale(Refused):
    """The fields that the answer refers to have changed since they were shown. `current` is the new `Pending`, or None while it is prepared."""

    def __init__(self, message: str, *, current: Any) -> None:
        super().__init__(message)
        self.current = current


# The operator acts: the store cannot be used.


class StoreError(PointsmanError):
    """The store cannot be used as it is."""


class StoreAway(StoreError):
    """The database cannot be reached now, or takes no connections yet. The same call can succeed later."""


class StoreLocked(StoreError):
    """Another engine or program has locked the file."""


class StoreForeign(StoreError):
    """The file is not a database of this library."""


class StoreNewer(StoreError):
    """The file was written by a newer release."""


class StoreUnwritable(StoreError):
    """The file or its folder cannot be written, or the disk is full."""


class LeaseLost(StoreError):
    """This engine's lease has expired, and other engines may have claimed its cases."""


class EngineStopped(PointsmanError):
    """The engine has been closed, or has stopped because its store failed."""


# Nobody acts: the engine handles these.


class Conflict(PointsmanError):
    """The case changed first, so this transition was not committed."""


class InboxChanged(Conflict):
    """A message has arrived for the case since it was read. Read it, then commit."""
