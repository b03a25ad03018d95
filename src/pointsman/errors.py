"""What can go wrong, sorted by who must act. An error's text is one sentence that names the thing and the mend."""

from typing import Any


class PointsmanError(Exception):
    """The root of every error that the library raises on purpose."""


# The author acts: the definition of a process is wrong.


class DefinitionError(PointsmanError):
    """A process, a node, an effect, a pause or a rule is declared in a way that cannot work."""


# The author's code speaks: how an effect's call ended.


class NotSent(PointsmanError):
    """Raise in an effect when the world was certainly not changed: the engine may try again under any policy.

    `retry_after` is the least number of seconds to wait, where the other side named one.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = float(retry_after) if isinstance(retry_after, int | float) else None


class NotBegun(NotSent):
    """The engine has not begun the call: its time had passed, or no thread was free. It says nothing of the other side."""


class AllHang(NotBegun):
    """All threads are taken by calls that were given up and never end, so no call of a plain function can begin."""


class NoModelResponse(PointsmanError):
    """A model was asked and gave no answer that can be read. The question may have been worked on, and paid for.

    `retry_after` is the least number of seconds to wait, where the other side named one.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Rejected(PointsmanError):
    """Raise in an effect when the other side definitely refused: the outcome is *failed* and is not tried again."""


class SubprocessCrashed(PointsmanError):
    """The subprocess of an isolated node ended before its function did: killed, out of memory, or by `os._exit`."""


class BudgetSpent(PointsmanError):
    """A guarded node was refused before its call, because a budget is spent."""


class CheckError(PointsmanError):
    """A check of a guard raised instead of saying what it has against an answer."""


# The caller acts: what was asked for does not fit.


class InputInvalid(PointsmanError):
    """The inputs of a start do not fit the state of the process."""


class ValueRefused(PointsmanError):
    """A value cannot be held as JSON: NaN, an infinity, a lone surrogate, a NUL, or a type that does not come back equal."""


class UnknownProcess(PointsmanError):
    """No process of this name is registered with the engine."""


class UnknownCase(PointsmanError):
    """No case has this number, which is `case`."""

    def __init__(self, case: int) -> None:
        super().__init__(f"there is no case {case}; list the cases with `Reader.cases`.")
        self.case = case


class Refused(PointsmanError):
    """A start, an answer, a cancel or a redrive was not taken; the text says why, and nothing was changed."""


class VersionNotAccepted(Refused):
    """No registered version of its process can go on with the case: none accepts its version, or a migration failed."""


class Busy(Refused):
    """A start was not taken, because too much is in line already; nothing of it is kept. Try again in `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AnswerInvalid(Refused):
    """The answer does not fit the type that the pause asks for."""


class NotWaiting(Refused):
    """The case is not waiting for an answer: it has not come to the pause yet, or it has ended (early, or late)."""


class AlreadyAnswered(Refused):
    """Somebody else's answer came first. `by` says whose."""

    def __init__(self, message: str, *, by: str) -> None:
        super().__init__(message)
        self.by = by


class Stale(Refused):
    """What the answer refers to has been rewritten since it was shown. `current` is what is shown now (`Pending`), None while it is prepared."""

    def __init__(self, message: str, *, current: Any) -> None:
        super().__init__(message)
        self.current = current


# The operator acts: the place where the cases live is not usable.


class StoreError(PointsmanError):
    """The store cannot be used as it is."""


class StoreLocked(StoreError):
    """Another engine, or another program, holds the file."""


class StoreForeign(StoreError):
    """The file is no database of ours, or not a database at all."""


class StoreNewer(StoreError):
    """The file was written by a newer release."""


class StoreUnwritable(StoreError):
    """The file or its folder cannot be written, or the disk is full."""


class LeaseLost(StoreError):
    """This engine's lease has expired, and other engines may have claimed its cases."""


class EngineStopped(PointsmanError):
    """The engine has been closed, or has stopped because its store failed."""


# Nobody acts: the runtime deals with it.


class Conflict(PointsmanError):
    """Somebody else moved the case first, so that this transition was not committed."""


class InboxChanged(Conflict):
    """A message came to the case since it was read: take it in, then commit."""
