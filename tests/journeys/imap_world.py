"""A desk that takes in its mailboxes, and names each mail when it begins to: so that it can be killed then.

With `--control` the mailbox's bookmark is moved before its mails are taken in.
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


async def main(file: Path, *, control: bool) -> None:
    config = load_config(file)
    arrivals = Hasty() if control else Arrivals()
    async with arrivals.of(mailboxes_of(config, print), follow=False), open_desk(config) as desk:
        await at_desk.work_off(desk, lambda name: print(name, flush=True), asyncio.Event(), arrivals=arrivals)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), control="--control" in sys.argv))
