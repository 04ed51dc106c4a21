"""How dense a model is at each step of a training (Zhu and Gupta 2017, equation 1; Sanh et al. 2020).

    v(t) = v_f + (v_i - v_f) (1 - (t - t_i) / (t_f - t_i))^3

with v_i up to step t_i, and v_f from step t_f on: much goes early, while much is superfluous, and the last
steps mend what is left. The same curve raises the threshold of soft movement from 0.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Cubic:
    """A value that follows the curve.

    Attributes:
        start: v_i.
        final: v_f.
        begin: t_i, the last step at which it is `start`.
        end: t_f, the first at which it is `final`; at least `begin`.
    """

    start: float
    final: float
    begin: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= self.end:
            raise ValueError(f"the curve falls from step {self.begin} to {self.end}; 0 <= begin <= end")

    def __call__(self, step: int) -> float:
        """The value at a step, counted from 0.

        Example:
            From 1 to 0.03 between the steps 22000 and 80700, it is 0.168763 at step 50000.
        """
        if step <= self.begin:
            return self.start
        if step >= self.end:
            return self.final
        left = 1 - (step - self.begin) / (self.end - self.begin)
        return self.final + (self.start - self.final) * left**3

    @classmethod
    def of_shares(cls, start: float, final: float, *, steps: int, before: float, after: float) -> "Cubic":
        """The curve over a training of any length.

        Args:
            start: v_i.
            final: v_f.
            steps: of the training; those counted `steps - 1` and up have the final value in any case.
            before: share of the steps with `start`.
            after: share of the steps with `final`.
        """
        begin = int(before * steps)
        return cls(start, final, begin, max(begin, min(steps - 1, steps - int(after * steps))))


def kept_of(density: float, count: int) -> int:
    """How many of `count` are kept at a density in 0..1: the floor of their product.

    The product is rounded to 1e-6 before, as 0.29 * 100 is 28.999999999999996.
    """
    return min(count, math.floor(round(density * count, 6)))
