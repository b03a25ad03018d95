"""The exceptions, sorted by who must act. The message of an error is one sentence that names the problem and the fix."""

from typing import Any


class PointsmanError(Exception):
    """The base class of every exception of the library."""


# The author must act: the definition of a process is wrong.


class DefinitionError(PointsmanError):
    """The declaration of a process, a step or a rule cannot work."""


# The author's code raises these to say how a call ended.


class NotSent(PointsmanError):
    """Raise this in an effect that certainly changed nothing. The engine may try again under any safety policy.

    `retry_after` is the minimum number of seconds to wait, if the receiver named one.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = float(retry_after) if isinstance(retry_after, int | float) else None


class NotBegun(NotSent):
    """The engine did not begin the call, because its deadline had passed or no thread was free. It says nothing about the receiver."""


class AllHang(NotBegun):
    """Abandoned calls occupy every thread, so no call of a plain function can begin."""


class NoModelResponse(PointsmanError):
    """A model was asked and returned no readable response. The request may have been processed, and paid for.

    `retry_after` is the minimum number of seconds to wait, if the server named one.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Rejected(PointsmanError):
    """Raise this in an effect that the receiver refused for certain. The outcome is *failed*, and the engine does not try again."""


class SubprocessCrashed(PointsmanError):
    """The subprocess of an isolated node ended before its function returned: it was killed, ran out of memory, or called `os._exit`."""


class BudgetSpent(PointsmanError):
    """The engine refused to call a guarded node, because a budget is spent."""


class CheckError(PointsmanError):
    """A check of a guard raised an exception instead of returning violations."""


# The caller must act: the request does not fit.


class InputInvalid(PointsmanError):
    """The inputs of a start do not fit the state of the process."""


class ValueRefused(PointsmanError):
    """A value cannot be stored as JSON: NaN, an infinity, a lone surrogate, a NUL, or a value that does not survive a round trip."""


class UnknownProcess(PointsmanError):
    """The engine has no process with this name."""


class UnknownCase(PointsmanError):
    """No case has this number."""


class Refused(PointsmanError):
    """A start, an answer, a cancel or a redrive was refused. The message says why, and nothing was changed."""


class VersionNotAccepted(Refused):
    """No registered version of the process can continue the case: none accepts its version, or a migration failed."""


class Busy(Refused):
    """A start was refused, because the backlog is full. Nothing of the start was stored. Try again in `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AnswerInvalid(Refused):
    """The answer does not have the type that the pause declares."""


class NotWaiting(Refused):
    """The case is not waiting for an answer: it has not reached the pause yet, or it has moved past it."""


class AlreadyAnswered(Refused):
    """Another answer came first. `by` names who gave it."""

    def __init__(self, message: str, *, by: str) -> None:
        super().__init__(message)
        self.by = by


class Stale(Refused):
    """The fields that the answer refers to were rewritten after they were shown.

    `current` is what the pause shows now (`Pending`), or None while the case prepares it.
    """

    def __init__(self, message: str, *, current: Any) -> None:
        super().__init__(message)
        self.current = current


# The operator must act: the store is not usable.


class StoreError(PointsmanError):
    """The store cannot be used."""


class StoreLocked(StoreError):
    """Another engine or another program has locked the file."""


class StoreForeign(StoreError):
    """The file is not a database of this library."""


class StoreNewer(StoreError):
    """A newer release wrote the file."""


class StoreUnwritable(StoreError):
    """The file or its folder cannot be written, or the disk is full."""


class LeaseLost(StoreError):
    """The lease of this engine has expired, and other engines may have claimed its cases."""


class EngineStopped(PointsmanError):
    """The engine has been closed, or has stopped because its store failed."""


# Nobody must act: the engine handles it.


class Conflict(PointsmanError):
    """The case changed first, so the store refused the transition."""


class News(Conflict):
    """A message arrived after the case was read: take it in, then commit."""
