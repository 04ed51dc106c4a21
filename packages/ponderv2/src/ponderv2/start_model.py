"""What a run begins with: the backbone's sizes, channels and voxels, from options or a trained model."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nonet.errors import UserError
from ponderv2.model_config import SIZES, SpUNetConfig
from ponderv2.model_folders import read_model
from ponderv2.scenes import CHANNELS
from ponderv2.task_config import DEFAULT_CHANNELS, DEFAULT_VOXEL

Say = Callable[[str], None]


class Start(NamedTuple):
    """What is known before a model is built.

    Attributes:
        backbone: its sizes.
        channels: what it takes of a point.
        voxel: side of a voxel, metres.
        origin: where that comes from, for the reader of a log.
    """

    backbone: SpUNetConfig
    channels: tuple[str, ...]
    voxel: float
    origin: str


def read_start(options: Any, datasets: Sequence[str], say: Say) -> Start:
    """The backbone to build.

    Args:
        options: name a model to start from, or the size of a new one; `StartOptions` at least.
        datasets: names of those that are learned from.
        say: takes remarks, such as voxels of another size than the model's.

    Raises:
        UserError: no such model, channels that it does not take, or a data set that it has no norms for.
    """
    known: SpUNetConfig | None = None
    facts: dict[str, Any] = {}
    if options.init is not None and not Path(options.init).is_file():
        found = read_model(options.init)
        known = found.backbone()
        facts = {name: found.config[name] for name in ("channels", "voxel") if name in found.config}
        facts |= found.facts
    channels = tuple(options.channels or facts.get("channels") or DEFAULT_CHANNELS)
    unknown = [name for name in channels if name not in CHANNELS]
    if unknown:
        raise UserError(f"{unknown[0]} is no channel; there are {', '.join(CHANNELS)}")
    width = sum(CHANNELS[name] for name in channels)
    if known is None:
        several = tuple(datasets) if len(datasets) > 1 else ()
        known = dataclasses.replace(SIZES[options.size].backbone, in_channels=width, datasets=several)
    if known.in_channels != width:
        raise UserError(
            f"{options.init}: its backbone takes {known.in_channels} numbers of a point, and "
            f"{', '.join(channels)} are {width}: name the channels that it was trained on"
        )
    trained = facts.get("voxel")
    voxel = options.voxel or float(trained or DEFAULT_VOXEL)
    if trained is not None and abs(voxel - float(trained)) > 1e-9:
        say(f"warning: voxels of {voxel:g} m, but {options.init} was trained on {float(trained):g} m")
    check_prompt(known, datasets, options.prompt, options.init)
    origin = "as given" if options.voxel else "the default" if trained is None else f"from {options.init}"
    return Start(known, channels, voxel, origin)


def check_prompt(
    backbone: SpUNetConfig, datasets: Sequence[str], prompt: str | None, where: str | None
) -> None:
    """Refuse a data set that a prompted backbone has no norms for.

    Raises:
        UserError: one has none, and no prompt says whose it uses.
    """
    if not backbone.datasets:
        return
    if prompt is not None and prompt not in backbone.datasets:
        raise UserError(f"prompt is {prompt}; {where} has norms for {', '.join(backbone.datasets)}")
    absent = [name for name in datasets if name not in backbone.datasets]
    if absent and prompt is None:
        raise UserError(
            f"{where}: has norms for {', '.join(backbone.datasets)}, and none for {', '.join(absent)}: "
            "say with prompt whose it is to use"
        )
