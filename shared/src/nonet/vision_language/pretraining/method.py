"""What a package's method brings to pre-training, and the parts that most methods take (ours)."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nonet.vision_language.feature_queue import FeatureQueue
from nonet.vision_language.momentum import Twin
from nonet.vision_language.pair_losses import PairLosses
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.pair_passes import See, SeePairs
from nonet.vision_language.pretraining.options import PretrainOptions, RegionOptions
from nonet.vision_language.pretraining.region_module import RegionModule
from nonet.vision_language.pretraining.starting import Start, start
from nonet.vision_language.word_mask import WordMask

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
        manual: the module takes its own optimiser steps, on one device.
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


def build_losses(
    options: PretrainOptions, begin: Start, see: See | None = None, see_pairs: SeePairs | None = None
) -> PairLosses:
    """The losses of pairs.

    Args:
        options: of the verb.
        begin: the model and its tokenizer.
        see: what the vision tower makes of a batch; None: all of its tokens.
        see_pairs: what it makes of it for the pairs of matching; None: the same.
    """
    weights = dataclasses.asdict(options.losses)
    share = weights.pop("masked")
    if begin.model.decoder is None:
        weights["prefix"] = 0.0
    mask = None
    if weights["mlm"]:
        tokenizer = begin.tokenizer
        mask = WordMask(
            begin.model.config.vocabulary, mask_id=tokenizer.mask_token_id, begin_id=tokenizer.cls_token_id,
            share=share,
        )  # fmt: skip
    return PairLosses(
        mask, weights=weights, online_keys=options.itc.online_keys, see=see, see_pairs=see_pairs
    )


def twin_and_queue(
    options: PretrainOptions, model: PairModel, losses: PairLosses
) -> tuple[Twin | None, FeatureQueue | None]:
    """The momentum model and the queue of its features; None where the options leave them out."""
    itc = options.itc
    twin = Twin(model, itc.momentum, skip=losses.skipped_by_twin(model)) if itc.momentum else None
    queue = FeatureQueue(itc.queue, model.config.embed, reset=options.reset_queue) if itc.queue else None
    return twin, queue
