"""Pre-train an image-text model with mixed images."""

from dataclasses import dataclass, field
from pathlib import Path

from nonet.errors import UserError
from nonet.vision_language.pretraining.options import PretrainOptions
from timix.mix_options import BOX_FREE, MixOptions, TppOptions


@dataclass(frozen=True, kw_only=True)
class Options(PretrainOptions):
    """Pre-train on image-text pairs, and on images mixed where their texts say so.

    Zero-shot retrieval is measured on images that are kept out, once a pass.
    """

    regions: tuple[Path, ...] = ()
    """files of regions (json, jsonl); without them take another mix.score than tpp"""
    mix: MixOptions = field(default_factory=MixOptions)
    """mixed images"""
    tpp: TppOptions = field(default_factory=TppOptions)
    """the patch predictor and its regions"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mix.optim_steps == "separate":
            self._separable()
        if self.mix.labels == "blend" and not self.itc.momentum:
            raise UserError("mix.labels blend asks the momentum model: set itc.momentum, or take hard")
        if self.mix.queue and not self.itc.queue:
            raise UserError("mix.queue puts the queue in the way of mixed images, and itc.queue is 0")
        if self.mix.guided and self.mix.score == "tpp" and not self.regions and self.init is None:
            raise UserError(f"mix.score tpp learns from regions, and there is no --regions file: {BOX_FREE}")

    def _separable(self) -> None:
        if self.trainer.accumulate > 1:
            raise UserError(
                "mix.optim_steps separate steps thrice a batch: leave trainer.accumulate at 1, or take joint"
            )
        if self.trainer.devices not in ("auto", 1) or self.trainer.nodes > 1:
            raise UserError("mix.optim_steps separate is for one device: trainer.devices 1, or take joint")


def run(options: Options) -> int:
    """Pre-train, save the model, its card and its page."""
    from timix.mix_training import pretrain

    pretrain(options)
    return 0
