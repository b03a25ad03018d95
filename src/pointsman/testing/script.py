"""Scripted resources: a stand-in for a model or a service, which gives prepared answers in order."""

from typing import Any


class Script:
    """A callable that returns its answers in order, raises those that are exceptions, and repeats the last one for ever.

    `asked` holds the arguments of each call. Call it as `script(...)`, or as `await script.ask(...)`.
    """

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Return the next answer, or raise it if it is an exception."""
        self.asked.append((arguments, named))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def ask(self, *arguments: Any, **named: Any) -> Any:
        """The same, awaited."""
        return self(*arguments, **named)
