"""Fine-tune a detector on labelled boxes."""

from dataclasses import dataclass, field

from nonet.errors import UserError
from nonet.training.options import TrainerOptions
from updetr.train_options import LengthOptions, ModelOptions, RateOptions, check_sides


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions, LengthOptions):
    """Fine-tune on labelled boxes, all of them or a few; the weights of the best validated AP are kept."""

    data: str
    """labelled images to train on: coco:FILE.json,IMAGES or voc:FOLDER:SPLIT or yolo:data.yaml:SPLIT"""
    val: str | None = None
    """labelled images to validate on, likewise; none: nothing is validated, the last weights are kept"""
    init: str | None = None
    """model to start from: a pre-trained or fine-tuned one of ours, or hf:NAME, a detector of transformers by
    its folder or hub name, such as hf:facebook/detr-resnet-50; none: a new one"""
    resize_queries: bool = False
    """take size.queries queries where `init` has another number: cut them off, or repeat them"""
    fraction: float | None = None
    """train on this share of the images alone, in (0, 1]"""
    shots: int | None = None
    """train on random images until each class has so many boxes; images keep all their boxes, so that common
    classes have more"""
    shots_exact: bool = False
    """with shots: on exactly so many boxes of each class; the other boxes of these images are taken out and
    count as background, as in the few-shot protocol of TFA"""
    subset_seed: int | None = None
    """which images a subset has; none: the seed of the run, so that several seeds have several subsets"""
    seeds: int = 1
    """runs, of trainer.seed, the next one, and so on; several are told with mean and standard deviation"""
    drop_difficult: bool = False
    """leave out the boxes that VOC marks as difficult"""
    voc_offset: int | None = None
    """number of VOC's first pixel, 0 or 1; none: 1 where the folder is named as VOC's own, else 0"""
    scales: tuple[int, ...] = tuple(range(480, 801, 32))
    """shorter side of a training image, pixels; one is drawn"""
    longest: int = 1333
    """longer side at most, pixels"""
    crop: float = 0.5
    """share of training images that are cropped before they are resized"""
    crop_scales: tuple[int, ...] = (400, 500, 600)
    """shorter side of an image before it is cropped, pixels"""
    crop_sides: tuple[int, int] = (384, 600)
    """least and greatest side of a crop, pixels"""
    flip: float = 0.5
    """share of training images that are mirrored left to right"""
    flip_vertical: float = 0.0
    """share of training images that are mirrored top to bottom"""
    val_scale: int | None = None
    """shorter side of an image that is validated or predicted, pixels; none: the greatest of the scales"""
    keep_images: int = 512
    """MiB of resized training images that are kept in memory, where none is cropped"""
    keep_features: int = 0
    """MiB of a frozen backbone's features that are kept on the device, of training and validation each, where
    no image is cropped: later epochs are without the backbone; 0: none"""
    frozen_stages: int = 1
    """stages of the backbone that are not trained, besides its stem; all of them: rates.backbone_lr 0"""
    batch: int = 16
    """images a batch, over all devices"""
    epochs: float = 150.0
    """passes over the images; 0: trainer.steps says how long"""
    validate_epochs: float = 1.0
    """passes over the images between two validations, where trainer.validate_every is 0; 0: one at the end"""
    rates: RateOptions = field(default_factory=lambda: RateOptions(backbone_lr=5e-5))
    """optimiser, rates, schedule"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(clip=0.1, validate_every=0, checkpoint_every=500)
    )
    """devices, precision, seed; steps count where epochs is 0"""

    def __post_init__(self) -> None:
        LengthOptions.__post_init__(self)
        check_sides(self.scales, self.longest)
        if self.fraction is not None and self.shots is not None:
            raise UserError("fraction and shots exclude each other: give one")
        if self.shots_exact and self.shots is None:
            raise UserError("shots_exact says what shots take: give shots, too, or leave it out")
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise UserError(f"fraction is {self.fraction:g}; it lies in (0, 1]")
        for name in ("shots", "val_scale", "seeds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; it is at least 1")
        for name in ("crop", "flip", "flip_vertical"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name):g}; it lies in [0, 1]")
        for name in ("keep_images", "keep_features", "frozen_stages", "validate_epochs"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name):g}; it is 0 or more")
        if self.crop and (not self.crop_scales or not 1 <= self.crop_sides[0] <= self.crop_sides[1]):
            raise UserError(
                "crop_scales and crop_sides: at least one scale, and a least side up to the greatest"
            )
        if self.val_scale is not None and self.val_scale > self.longest:
            raise UserError(f"val_scale is {self.val_scale} pixels, above longest, {self.longest}")
        if self.keep_features and (self.rates.backbone_lr or self.crop):
            raise UserError(
                "keep_features is for a frozen backbone and whole images: set rates.backbone_lr and crop "
                "to 0, or leave it out"
            )
        if self.seeds > 1 and (self.trainer.nodes > 1 or self.trainer.devices not in ("auto", 1)):
            raise UserError("several seeds run one after the other on one device: start a command for each")

    @property
    def scored_scale(self) -> int:
        """Shorter side of an image that is validated or predicted, pixels."""
        return self.val_scale or max(self.scales)


def run(options: Options) -> int:
    """Fine-tune, save the model, its card and its page; several seeds: a run for each, and a summary."""
    from updetr.finetune_run import finetune

    finetune(options)
    return 0
