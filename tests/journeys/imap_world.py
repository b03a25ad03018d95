"""A desk that takes in its mailboxes, and names each mail when it begins to: so that it can be killed then.

It takes in one mail for each byte of its standard input, and waits for the next byte. With `--control` the mailbox's bookmark is moved before its mails are taken in.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from pointsman_desk import desk as at_desk
from pointsman_desk.config import load_config
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.wiring import mailboxes_of, open_desk


class Hasty(Arrivals):
    async def hand_over(self, mails: Sequence[Found]) -> None:
        taken = asyncio.ensure_future(super().hand_over(mails))
        self.kept = [*getattr(self, "kept", ()), taken]


def name_it(name: str) -> None:
    """Say which mail it begins with, when it may."""
    sys.stdin.buffer.raw.read(1)
    print(name, flush=True)


async def main(file: Path, *, control: bool) -> None:
    config = load_config(file)
    arrivals = Hasty() if control else Arrivals()
    async with arrivals.of(mailboxes_of(config, print), follow=False), open_desk(config) as desk:
        await at_desk.work_off(desk, name_it, asyncio.Event(), arrivals=arrivals)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), control="--control" in sys.argv))
