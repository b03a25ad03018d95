"""What `pointsman restate serve` serves in the tests. What happens outside is counted in the folder that the variable OUTSIDE names."""

import os
from pathlib import Path
from typing import Any

from orders import Checked, Order, orders
from outside import Files
from windows import asking, patient, windows

FOLDER = Path(os.environ["OUTSIDE"])
NEWER = FOLDER / "newer code"
"""With this file a program that begins has one more node in the process of orders."""

processes = [orders(Checked if NEWER.exists() else Order), windows(), patient(), asking()]


def resources() -> dict[str, Any]:
    return {"outside": Files(FOLDER)}
