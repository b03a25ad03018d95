"""What `pointsman restate serve` serves in the tests that kill. What happens outside is counted in the folder that the variable OUTSIDE names."""

import os
from pathlib import Path
from typing import Any

from parcels import Deaths
from parcels import parcels as process

parcels = process()


def resources() -> dict[str, Any]:
    return {"outside": Deaths(Path(os.environ["OUTSIDE"]))}
