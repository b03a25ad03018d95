"""A disk that takes no more, as real processes meet it: each ends with one sentence, and what came in is answered once when there is room again."""

import json
import resource
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

import interpreter
from pointsman_desk.config import SAMPLE

# Where the first write fails that is larger: the policy, the sample shop, what left, the cases' tables, their log before and amid the mails.
KILOBYTES = (1, 4, 30, 44, 100, 350, 450, 500)
TABLES_KILOBYTES = 400  # of the cases' file and its log before the first case


LIMITED = """
import resource, sys
from pointsman_desk.cli import main
bytes_max = int(sys.argv.pop(1))
sys.dont_write_bytecode = True  # Python would keep a file that was cut short, and fail to read it ever after
resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))
main.main()
"""


def command(folder: Path, *words: str, bytes_max: int = resource.RLIM_INFINITY) -> subprocess.CompletedProcess[str]:
    """Run a command, where no file may become larger than `bytes_max`."""
    return interpreter.run("-c", LIMITED, bytes_max, *words, "--config", folder / "desk.toml")


@pytest.mark.parametrize("kilobytes", KILOBYTES)
def test_a_full_disk_is_one_sentence_and_loses_and_doubles_nothing(tmp_path: Path, kilobytes: int) -> None:
    (tmp_path / "mailbox").mkdir()
    samples = sorted((SAMPLE / "mails").iterdir())[:10]
    for sample in samples:
        shutil.copyfile(sample, tmp_path / "mailbox" / sample.name)
    (tmp_path / "desk.toml").write_text(
        f'home = "{tmp_path / "desk"}"\nmailbox = "{tmp_path / "mailbox"}"\nauthserv = "mx.haus-und-hof.example"\n', encoding="utf-8"
    )

    full = [command(tmp_path, *words, bytes_max=kilobytes * 1024) for words in (("run",), ("approve", "1", "--yes"), ("run",), ("doctor",))]
    after = command(tmp_path, "run", "--json")
    cases = json.loads(command(tmp_path, "cases", "--json").stdout)
    left = [file.read_bytes() for file in (tmp_path / "desk" / "outbox" / "new").iterdir()]

    assert full[0].returncode == 1, "it was not full: take fewer kilobytes"
    assert not [done.stderr for done in full if "Traceback" in done.stderr]
    approved = kilobytes > TABLES_KILOBYTES and full[1].returncode == 0  # if the first case had come so far
    assert [done.stderr.count("pointsman-desk: ") for done in full[:3]] == [1, not approved, 1], [done.stderr for done in full]
    assert after.returncode == 0, after.stderr
    assert len(cases) == len(samples)
    answered = Counter(line for raw in left for line in raw.split(b"\r\n") if line.startswith(b"In-Reply-To:"))
    assert len(answered) == sum(case["outcome"] == "sent" for case in cases) == 7 + approved
    assert set(answered.values()) == {1}
