"""How many order numbers that are not theirs a sender may name, before the shop is asked no more for them."""

from collections import OrderedDict

GUESSES_MAX = 5  # who mistypes a number five times is better helped by a person
WINDOW_SECONDS = 24 * 3600.0
SENDERS_MAX = 10_000  # whoever is behind so many addresses of domains that vouch for them is stopped elsewhere


class Guesses:
    """The wrong numbers of each sender in the last `WINDOW_SECONDS`, the same number counted once.

    Kept in memory, so a new start of the desk forgets them: they keep an enumeration slow, and that it tells nothing is
    seen to by the replies, which are the same for a number that is another customer's and for one that does not exist.
    """

    def __init__(self) -> None:
        self._named: OrderedDict[str, dict[str, float]] = OrderedDict()

    def too_many(self, sender: str, now: float) -> bool:
        """Whether `sender` has named `GUESSES_MAX` wrong numbers; `now` is in Unix seconds."""
        named = self._named.get(sender, {})
        return sum(now - at < WINDOW_SECONDS for at in named.values()) >= GUESSES_MAX

    def add(self, sender: str, number: str, now: float) -> None:
        """Take down that `number` was none of `sender`'s."""
        named = self._named.pop(sender, {})
        self._named[sender] = {one: at for one, at in named.items() if now - at < WINDOW_SECONDS} | {number: now}
        while len(self._named) > SENDERS_MAX:
            self._named.popitem(last=False)
