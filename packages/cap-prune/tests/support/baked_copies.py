"""A masked model's copy with zeros in place of masks."""

import copy

from cap_prune.masked_layers import bake


def baked(model):
    """The copy, in evaluation mode; the model keeps its masks."""
    copied = copy.deepcopy(model).eval()
    bake(copied)
    return copied
