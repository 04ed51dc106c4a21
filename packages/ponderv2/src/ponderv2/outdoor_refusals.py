"""Options of verbs for rooms and streets that streets do not look at: refused, never passed over (ours)."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from nonet.errors import UserError

READING = ("frame_step", "depth_scale", "normals")
"""how folders of frames of rooms are read"""
PRETRAINING = (
    *READING, "up", "channels", "voxel", "keep", "views", "rays", "max_points", "coordinates", "losses",
    "mask_size", "lr_file", "la_file", "ratios", "clip_reduce", "point_text", "val_side",
)  # fmt: skip
"""of `pretrain`, besides those that its verb refuses"""
FINETUNING = ("depth_scale", "normals", "crop", "prompt", "boxes", "stuff", "groups")
"""of `finetune det`"""
EVALUATION = (*READING, "tta", "variants", "rule", "cache", "batch")
"""of `evaluate`"""
PREDICTION = (*READING, "write", "tta", "variants")
"""of `predict`"""


def refuse_for_streets(options: Any, names: Iterable[str]) -> None:
    """Refuse options that are not what they are by default.

    Args:
        options: a dataclass of options.
        names: of those that are for rooms alone.

    Raises:
        UserError: one of them was given another value.
    """
    usual = {field.name: _default(field) for field in dataclasses.fields(options)}
    for name in names:
        if getattr(options, name) != usual[name]:
            raise UserError(f"{name} is for rooms: leave it out on streets")


def refuse_held_out(options: Any) -> None:
    """Refuse to hold views or frames out in pre-training on streets, where nothing is validated.

    Args:
        options: of `pretrain`; its presets for streets have 0 in both.

    Raises:
        UserError: one of `hold_out` and `val_scenes` is neither its default nor 0.
    """
    usual = {field.name: field.default for field in dataclasses.fields(options)}
    for name in ("hold_out", "val_scenes"):
        if getattr(options, name) not in (0, usual[name]):
            raise UserError(f"{name} is for rooms: on streets nothing is held out, leave it out or give 0")


def _default(field: Any) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
