"""When images are mixed and what that counts (released `pretrain_mplug.py`): plain numbers.

The weight rises from 0 over the first pass through the pairs and stays; mixing ends after so many passes. In
step t of S a pass,

    gamma(t) = weight min(1, t / (ramp S)),  0 from pass `until_epoch` on
"""

import math

from timix.mix_options import MixOptions


def ramp(epochs: float, passes: float) -> float:
    """What has become of a weight that rises from 0 to 1.

    Args:
        epochs: passes so far, 0.5 in the middle of the first.
        passes: over which it rises; 0: it is 1 at once.
    """
    return 1.0 if passes <= 0 else min(1.0, epochs / passes)


def mix_weight(mix: MixOptions, step: int, epochs: float) -> float:
    """The weight of mixed images in a step; 0: there are none.

    Args:
        mix: what the user wants.
        step: steps that were taken before.
        epochs: passes so far.
    """
    end = math.inf if mix.until_epoch is None else mix.until_epoch
    if not mix.enabled or epochs >= end or step % mix.every:
        return 0.0
    return mix.weight * ramp(epochs, mix.ramp)
