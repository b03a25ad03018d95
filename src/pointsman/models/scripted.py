"""A model that says what it was told to: for tests, and to try a process without one."""

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
    """One question, as it came."""

    task: Task
    messages: tuple[Message, ...]
    schema: type[BaseModel]


class Scripted:
    """A model that gives `answers` in order, or what a function of the task and the messages returns.

    A text is read as a language model's raw answer, a value becomes JSON first, and what does not fit the schema has
    the violations that it would have from any other model. A `ModelResponse` is returned as it is, and an exception raised.
    `asked` holds every question, `usage` is what each answer says it used.
    """

    def __init__(self, answers: Script, *, name: str = "scripted", usage: Usage | None = None) -> None:
        self.name = name
        self.asked: list[Asked] = []
        self._usage = usage or Usage()
        self._answer = answers if callable(answers) else self._in_order(list(answers))

    @property
    def calls(self) -> int:
        """How often it was asked."""
        return len(self.asked)

    async def ask(self, task: Task, messages: Sequence[Message], schema: type[T]) -> ModelResponse[T]:
        """The next answer. Raises it where it is an exception, and DefinitionError where there is none left."""
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
