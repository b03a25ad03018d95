"""Scripted resources: what a model or a service answers, one answer after the other."""

from typing import Any


class Script:
    """A callable that gives its answers in order; an exception among them is raised, and the last one is repeated for ever.

    `asked` holds the arguments of each call. It is plain or awaited, as the caller likes: `await script.ask(...)`, `script(...)`.
    """

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """The next answer. Raises it, where it is an exception."""
        self.asked.append((arguments, named))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def ask(self, *arguments: Any, **named: Any) -> Any:
        """The same, awaited."""
        return self(*arguments, **named)
