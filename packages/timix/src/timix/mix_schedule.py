"""When images are mixed and what that counts (released `pretrain_mplug.py`): plain numbers.

The weight rises over the first pass and stays; mixing ends after so many passes. A batch's number i counts
from 0 over all passes, and a pass has S batches:

    gamma(i) = weight min(1, i / (ramp S))
"""

import math
from dataclasses import dataclass

from timix.mix_options import MixOptions


def ramp(batch: int, batches: int, passes: float) -> float:
    """What a weight that rises from 0 to 1 has become.

    Args:
        batch: number of the batch, from 0.
        batches: of a pass.
        passes: over which it rises; 0: it is 1 at once.
    """
    return 1.0 if passes <= 0 else min(1.0, batch / (passes * batches))


@dataclass(frozen=True)
class MixSchedule:
    """When images are mixed.

    Attributes:
        options: what the user wants.
        batches: of a pass.
    """

    options: MixOptions
    batches: int

    def weight(self, batch: int) -> float:
        """The weight of mixed images in a batch; 0: there are none.

        Args:
            batch: its number, from 0, over all passes.
        """
        mix = self.options
        end = math.inf if mix.until_epoch is None else mix.until_epoch * self.batches
        if not mix.enabled or batch >= end or batch % mix.every:
            return 0.0
        return mix.weight * ramp(batch, self.batches, mix.ramp)

    def ends(self) -> int | None:
        """The first batch after which nothing is mixed; None: to the end."""
        passes = self.options.until_epoch
        return None if passes is None else math.ceil(passes * self.batches)
