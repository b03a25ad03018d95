"""What `pointsman restate serve` serves in the tests. What happens outside is counted in the folder that the variable OUTSIDE names."""

import os
from pathlib import Path
from typing import Any

from orders import orders
from outside import Files
from windows import control, patient, windows

processes = [orders(), windows(), patient(), control()]


def resources() -> dict[str, Any]:
    return {"outside": Files(Path(os.environ["OUTSIDE"]))}
