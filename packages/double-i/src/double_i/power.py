"""How many queries a verification needs, for Fisher's test and for pairs that stop early. Source: ours."""

from typing import NamedTuple

import numpy as np

from double_i.fisher import check_share, power, smallest_n
from double_i.sequential import LAMBDA, pairs_needed
from nonet.errors import UserError

LARGEST = 2000
"""queries a set beyond which a search ends; 2000 takes some seconds and 64 MB"""


class Needed(NamedTuple):
    """What a verification of one key asks for."""

    pairs: int | None
    """queries a set for the wanted power; None: more than LARGEST"""
    power: float
    """at that number"""
    smallest: int
    """queries a set with perfect separation"""
    sequential: int
    """pairs with perfect separation that stop early"""


def needed(alpha: float, p_trigger: float, p_reference: float, wanted: float = 0.95) -> Needed:
    """The smallest n from which on the power stays at the wanted one for the next five, too.

    The power of a discrete test has teeth; a single tooth above the line is not enough.

    Args:
        alpha: level of the test.
        p_trigger: share of target answers to the trigger.
        p_reference: the same of the reference.
        wanted: power, 0..1.

    Raises:
        UserError: a number is out of range, or the trigger brings no more target answers than the reference.
    """
    check_share("the wanted power", wanted)
    if p_trigger <= p_reference:
        raise UserError(
            f"--p-trigger {p_trigger:g} is not above --p-reference {p_reference:g}: "
            "no number of queries helps"
        )
    least = smallest_n(alpha)
    early = pairs_needed(alpha)

    def enough(n: int) -> bool:
        return all(power(n + more, p_trigger, p_reference, alpha) >= wanted for more in range(5))

    high = least
    while not enough(high):
        if high >= LARGEST:
            return Needed(None, power(high, p_trigger, p_reference, alpha), least, early)
        high = min(2 * high, LARGEST)
    low = max(least - 1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return Needed(high, power(high, p_trigger, p_reference, alpha), least, early)


def stopping(
    alpha: float,
    p_trigger: float,
    p_reference: float,
    most: int = 200,
    runs: int = 10_000,
    seed: int = 0,
    bet: float = LAMBDA,
) -> tuple[float, float, float]:
    """How soon early stopping stops, by simulation.

    Returns:
        Share of runs that stop within `most` pairs, then median and 90 % point of the pairs until then;
        a run that does not stop counts as `most`.
    """
    random = np.random.default_rng(seed)
    trigger = random.random((runs, most)) < p_trigger
    reference = random.random((runs, most)) < p_reference
    steps = np.log1p(bet * (trigger.astype(float) - reference)).cumsum(1)
    crossed = steps >= -np.log(alpha)
    stopped = crossed.any(1)
    pairs = np.where(stopped, crossed.argmax(1) + 1, most)
    return float(stopped.mean()), float(np.median(pairs)), float(np.quantile(pairs, 0.9))
