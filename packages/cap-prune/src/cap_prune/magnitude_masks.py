"""Magnitude pruning: the largest weights stay (Han et al. 2015; Zhu and Gupta 2017).

They are chosen anew as they change. A weight that is masked gets no gradient, and decays at most: it
comes back only if kept ones fall below it.
"""

from cap_prune.movement import Largest


class Magnitude(Largest):
    """The largest absolute weights; over all matrices together the original decides every 25 steps."""

    name = "magnitude"
