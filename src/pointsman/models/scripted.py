"""A scripted model, for tests and for trying a process without a language model."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from pointsman.definition.guards import ModelResponse, Usage
from pointsman.errors import DefinitionError
from pointsman.models.answers import cleaned, read_answer
from pointsman.models.base import Message, Task

T = TypeVar("T", bound=BaseModel)

Script = Iterable[Any] | Callable[[Task, Sequence[Message]], Any]


class Asked(NamedTuple):
    """One recorded request."""

    task: Task
    messages: tuple[Message, ...]
    schema: type[BaseModel]


class Scripted:
    """A model that returns `answers` in order, or the result of a function of the task and the messages.

    It parses a text like the raw text of a language model, and turns any other value into JSON first. So an answer that does
    not fit the schema has the usual violations. It returns a `ModelResponse` unchanged, and raises an exception. `asked` has
    each request, and `usage` is the usage of each response.
    """

    def __init__(self, answers: Script, *, name: str = "scripted", usage: Usage | None = None) -> None:
        self.name = name
        self.asked: list[Asked] = []
        self._usage = usage or Usage()
        self._answer = answers if callable(answers) else self._in_order(list(answers))

    @property
    def calls(self) -> int:
        """The number of requests so far."""
        return len(self.asked)

    async def ask(self, task: Task, messages: Sequence[Message], schema: type[T]) -> ModelResponse[T]:
        """The next response. Raises the next answer if it is an exception, and DefinitionError if there are no more answers."""
        self.asked.append(Asked(task, tuple(messages), schema))
        answer = self._answer(task, messages)
        if isinstance(answer, Exception) or (isinstance(answer, type) and issubclass(answer, Exception)):
            raise answer
        if isinstance(answer, ModelResponse):
            return answer
        raw = cleaned(answer) if isinstance(answer, str) else json.dumps(to_jsonable_python(answer), ensure_ascii=False)
        output, wrong = read_answer(raw, schema)
        return ModelResponse(output, self.name, raw, self._usage, wrong)

    def _in_order(self, answers: list[Any]) -> Callable[[Task, Sequence[Message]], Any]:
        def answer(task: Task, _: Sequence[Message]) -> Any:
            if self.calls > len(answers):
                raise DefinitionError(
                    f"{self.name!r} was asked {self.calls} times, now {task.name!r}, and has {len(answers)} answers; give it one more."
                )
            return answers[self.calls - 1]

        return answer
