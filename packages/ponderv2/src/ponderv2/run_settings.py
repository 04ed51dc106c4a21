"""What a run that goes on must share with its begin: every option that can change a number (ours)."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from nonet.training.options import TrainerOptions

FREE = ("out", "resume", "epochs", "validate_epochs", "memory", "trainer.workers", "trainer.devices",
        "trainer.nodes", "trainer.accelerator", "trainer.strategy", "trainer.checkpoint_every",
        "trainer.log_every")  # fmt: skip
"""options that may differ: where a run computes, how much it keeps in memory, where and how often it writes;
passes are compared as the steps they make"""


def run_settings(
    options: Any, trainer: TrainerOptions, first: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Dotted names of options with plain values, as `StateOfRun` keeps them.

    Args:
        options: of the verb, with `trainer` and whatever else.
        trainer: with the steps and validations that passes have become.
        first: what the options were resolved to, such as a voxel that a model brought; takes the place of the
            option of that name, and is compared first.
    """
    found = dict(first or {})
    for name, value in _plain(dataclasses.replace(options, trainer=trainer), ""):
        if name not in FREE:
            found.setdefault(name, value)
    return found


def _plain(options: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(options):
        value, name = getattr(options, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            yield from _plain(value, f"{name}.")
        elif value is None or isinstance(value, bool | int | float | str):
            yield name, value
        elif isinstance(value, tuple | list):
            yield name, " ".join(map(str, value))
        else:
            yield name, str(value)
