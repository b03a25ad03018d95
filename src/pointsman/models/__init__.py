"""Models behind one small protocol: a node asks, the engine guards the answer, retries and counts."""

from pointsman.models.answers import read_answer
from pointsman.models.base import Message, Model, Price, Task, with_repairs
from pointsman.models.openai_compatible import OpenAICompatible
from pointsman.models.pydantic_ai import PydanticAI
from pointsman.models.scripted import Scripted

__all__ = ["Message", "Model", "OpenAICompatible", "Price", "PydanticAI", "Scripted", "Task", "read_answer", "with_repairs"]
