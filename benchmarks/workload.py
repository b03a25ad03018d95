"""The workloads as processes. Each result is about 300 bytes of JSON and durable before the next step runs.

This module imports the library only inside its functions: a peer's program imports the names, the payloads and the sizes.
"""

import random
from typing import Any

STEPS = ("ingest", "classify", "fetch_order", "draft", "validate", "send")
BEFORE_PAUSE = STEPS[:5]  # W2: a person approves before the last step

_chance = random.Random(7)
_WORDS = ["".join(_chance.choices("etaoinshrdlucmf", k=_chance.randint(2, 9))) for _ in range(1_200)]
# Many different texts, so that nothing on the way can profit from having seen the same one before.
_TEXTS = [" ".join(_chance.choices(_WORDS, k=60))[:230] for _ in range(4_096)]


def payload(step: str, case: int, item: int = 0) -> dict[str, Any]:
    """A result of about 300 bytes as JSON."""
    text = _TEXTS[(case * 7_919 + item * 31 + len(step) * 613) & 4_095]
    return {"step": step, "case": case, "ok": True, "score": 0.93, "text": text[: 230 - len(step)]}
