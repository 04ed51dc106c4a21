"""What a package's method brings to pre-training (ours)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nonet.vision_language.pretraining.options import PretrainOptions, RegionOptions
from nonet.vision_language.pretraining.region_module import RegionModule
from nonet.vision_language.pretraining.starting import Start, start

Plain = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a package's method brings to pre-training.

    Attributes:
        package: its command, which names the run.
        boxes: how regions are shown.
        guided: the patch detector is needed, whether there are regions or not.
        box_free: what to do without regions, for the error.
        build: (model, tokenizer and detector; steps of the run; steps of a pass) to what is trained.
        how: a sentence for the model's card.
        remarks: lines for the user, when the run begins.
        limits: for the card.
        settings: what a resumed run must share, by the names of the options.
        files: texts to save with the model, by file name.
        manual: the module takes its own optimiser steps, on one device, and leaves out what is not finite as
            `FiniteLoss` expects.
        saves_memory: options that lower it, for the error.
    """

    package: str
    boxes: RegionOptions
    guided: bool
    box_free: str
    build: Callable[[Start, int, int], RegionModule]
    how: str
    remarks: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    settings: Mapping[str, Plain] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    manual: bool = False
    saves_memory: str = "checkpointing"


def begin_with(options: PretrainOptions, method: Method, say: Callable[[str], None]) -> Start:
    """Read, check and build what a method begins with; arguments and errors are those of `start`."""
    return start(options, say, boxes=method.boxes, guided=method.guided, box_free=method.box_free)
