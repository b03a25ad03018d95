"""The process of letters and their blobs, served to Restate. What happens outside is counted in the folder that the variable OUTSIDE names."""

import os
from pathlib import Path

from box import Deadly, letters
from outside import Files

from pointsman.restate import restate_app

app = restate_app([letters()], blobs=Deadly(Files(Path(os.environ["OUTSIDE"]))))
