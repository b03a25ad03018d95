"""Models behind one small protocol: a node asks, the engine guards the answer, retries and counts."""

from pointsman.models.base import Message, Model, Task

__all__ = ["Message", "Model", "Task"]
