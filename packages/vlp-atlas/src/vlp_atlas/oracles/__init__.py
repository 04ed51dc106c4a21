"""Worked examples: a toy input for a formula, what the function gives, and what it must give (ours).

Each module here holds the `ORACLES` of one topic, by name; objectives and metrics of the catalogue name
theirs. Looking one up loads the topics' modules; torch is loaded when an example that needs it runs.
"""

import importlib
import pkgutil
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple

from nonet.errors import UserError

__all__ = ["Later", "Oracle", "oracle", "oracles"]


class Later:
    """A module that is loaded when something of it is used.

    Args:
        name: of the module.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._name), name)


class Oracle(NamedTuple):
    """A worked example.

    Attributes:
        what: the toy inputs, in one line.
        run: computes the number through the public function.
        expected: the number it must be, known from elsewhere.
        tolerance: the largest allowed difference.
    """

    what: str
    run: Callable[[], float]
    expected: float
    tolerance: float

    def passes(self) -> bool:
        """Whether the function gives the expected number; NaN never does."""
        return abs(self.run() - self.expected) <= self.tolerance


@cache
def oracles() -> dict[str, Oracle]:
    """All worked examples by name.

    Raises:
        ValueError: two topics use the same name.
    """
    found: dict[str, Oracle] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        topic = importlib.import_module(f"{__name__}.{module.name}")
        for name, example in getattr(topic, "ORACLES", {}).items():
            if name in found:
                raise ValueError(f"{topic.__name__}: the name {name!r} is taken by another topic")
            found[name] = example
    return found


def oracle(name: str) -> Oracle:
    """The worked example of that name.

    Raises:
        UserError: there is none.
    """
    examples = oracles()
    if name not in examples:
        near = ", ".join(get_close_matches(name, examples, n=3, cutoff=0.0))
        raise UserError(f"no worked example {name!r}; the nearest: {near or 'none'}")
    return examples[name]
