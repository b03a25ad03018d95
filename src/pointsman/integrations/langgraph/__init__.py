"""Run LangGraph's programs on our store: a checkpointer, and effects that happen once.

    with PointsmanSaver.open("cases.db", effects=[charge]) as saver:
        graph = builder.compile(checkpointer=saver)
        graph.invoke(inputs, {"configurable": {"thread_id": "1"}})

An application that has an engine gives it to the saver, `PointsmanSaver(engine)`: both then write through the engine's one writer.
"""

from pointsman.integrations.langgraph.effects import EffectFailed, EffectInDoubt, EffectOnce, effect_once
from pointsman.integrations.langgraph.saver import PointsmanSaver, SaverOpening

__all__ = ["EffectFailed", "EffectInDoubt", "EffectOnce", "PointsmanSaver", "SaverOpening", "effect_once"]
