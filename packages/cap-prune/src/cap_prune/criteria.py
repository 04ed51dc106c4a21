"""The criteria by name: what is pruned first is a choice apart from how the rest is trained.

A criterion is a function `score(model, batches, loss) -> UnitScores`; another one is added by naming it here.
"""

from collections.abc import Callable, Iterable
from typing import Any

from cap_prune.first_order import Loss, first_order
from cap_prune.unit_criteria import magnitude, random_units, wanda
from cap_prune.unit_scores import UnitScores

__all__ = ["CRITERIA", "Criterion", "UnitScores"]

Criterion = Callable[[Any, Iterable[Any], Loss], UnitScores]
CRITERIA: dict[str, Criterion] = {
    "first-order": first_order,
    "magnitude": magnitude,
    "random": random_units,
    "wanda": wanda,
}
