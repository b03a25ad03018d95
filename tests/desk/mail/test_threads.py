"""The index of conversations: a file that can be spared."""

from pathlib import Path

import pytest

from pointsman_desk.errors import ConfigInvalid
from pointsman_desk.mail.threads import Threads


def test_a_file_that_is_no_index_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "threads.db"
    file.write_text("something else, and long enough to be read as a page" * 20)

    with pytest.raises(ConfigInvalid, match=r"threads\.db cannot be opened \(file is not a database\); delete it, "):
        Threads(file)
