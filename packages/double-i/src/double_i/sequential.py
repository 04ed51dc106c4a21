"""Pairs of answers that may be watched as they come: an e-value that keeps its level whenever one stops.

Source: ours; Ville's inequality (Ville 1939), bets as in Waudby-Smith and Ramdas 2024.
"""

import math
from collections.abc import Iterable

from double_i.fisher import check_share
from nonet.errors import UserError

LAMBDA = 0.9


class PairedTest:
    """E_n, the product of 1 + bet X_i, with X_i = 1[trigger brings target] - 1[reference brings target].

    If trigger and reference bring the target equally often, E_n is a martingale from 1, so that it ever
    reaches 1 / alpha with a probability of at most alpha.

    Args:
        alpha: level of the test.
        bet: 0..1, ends excluded.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(self, alpha: float, bet: float = LAMBDA) -> None:
        check_share("alpha", alpha)
        if not 0 < bet < 1:
            raise UserError(f"the bet is {bet:g}; it lies between 0 and 1")
        self.alpha, self.bet = alpha, bet
        self.log_e = self.best = 0.0
        self.pairs = 0
        self.stopped: int | None = None
        """pairs at the first crossing"""

    def add(self, trigger: bool, reference: bool) -> bool:
        """Take a pair; True: the level is reached, now or before."""
        self.pairs += 1
        self.log_e += math.log1p(self.bet * (int(trigger) - int(reference)))
        self.best = max(self.best, self.log_e)
        if self.stopped is None and self.log_e >= -math.log(self.alpha) - 1e-9:
            self.stopped = self.pairs
        return self.stopped is not None

    @property
    def e_value(self) -> float:
        """The largest E_n so far."""
        return math.exp(min(self.best, 700.0))

    @property
    def p(self) -> float:
        """1 / largest E_n: a p-value at any time."""
        return math.exp(-self.best)


def run_pairs(pairs: Iterable[tuple[bool, bool]], alpha: float, bet: float = LAMBDA) -> PairedTest:
    """The test after the pairs up to its first crossing; further ones are not looked at."""
    test = PairedTest(alpha, bet)
    for trigger, reference in pairs:
        if test.add(trigger, reference):
            break
    return test


def pairs_needed(alpha: float, bet: float = LAMBDA) -> int:
    """Pairs until a perfect separation stops: 22 for 1e-6, 11 for 1e-3."""
    PairedTest(alpha, bet)
    return math.ceil(-math.log(alpha) / math.log1p(bet) - 1e-9)
