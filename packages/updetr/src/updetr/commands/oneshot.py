"""The verb `oneshot`: objects of a class never trained on, given one picture of it."""

from dataclasses import dataclass, field
from typing import Literal

from nonet.errors import UserError
from nonet.training.options import TrainerOptions
from updetr.train_options import LengthOptions, ModelOptions, RateOptions, check_sides


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions, LengthOptions):
    """Train a model to find all objects of the class of one crop, or score it on classes seen and unseen."""

    action: Literal["train", "evaluate"] = field(metadata={"positional": True})
    """train: on the classes that are not in `unseen`; evaluate: on all"""
    data: str
    """labelled images: coco:FILE.json,IMAGES or voc:FOLDER:SPLIT or yolo:data.yaml:SPLIT"""
    init: str | None = None
    """train: the pre-trained model to start from; none: a new one, which hardly learns"""
    model: str | None = None
    """evaluate: folder of a model of `oneshot train`, or of its run"""
    unseen: tuple[str, ...] = ("cow", "sheep", "cat", "aeroplane")
    """train: classes that are left out, those of the protocol for VOC"""
    crops_from: str | None = None
    """evaluate: labelled images that crops are cut from; none: the other images of `data`"""
    queries_per_image: int = 5
    """evaluate: crops that are shown of each class of an image, one after the other; scores are means"""
    min_crop: float = 16.0
    """least side of a crop, pixels of the image as it is stored"""
    patch_size: int = 128
    """side of a crop as the backbone sees it, pixels"""
    voc_offset: int | None = None
    """number of VOC's first pixel, 0 or 1; none: 1 where the folder is named as VOC's own, else 0"""
    scales: tuple[int, ...] = tuple(range(480, 801, 32))
    """train: shorter side of an image, pixels; one is drawn"""
    longest: int = 1333
    """train: longer side at most, pixels"""
    val_scale: int | None = None
    """shorter side of an image that is scored, pixels; none: the greatest of the scales of training"""
    flip: float = 0.5
    """train: share of images that are mirrored left to right"""
    keep_images: int = 512
    """train: MiB of resized images that are kept in memory"""
    frozen_stages: int = 1
    """train: stages of the backbone that stay as they are, besides its stem; all: rates.backbone_lr 0"""
    device: str = "auto"
    """evaluate: cpu, cuda, cuda:1; auto: the first GPU, else the CPU"""
    batch: int = 16
    """images a batch, over all devices"""
    epochs: float = 300.0
    """passes over the images, as in the paper; 0: trainer.steps says how long"""
    rates: RateOptions = field(default_factory=lambda: RateOptions(backbone_lr=5e-5))
    """optimiser, rates, schedule"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(clip=0.1, validate_every=0, checkpoint_every=500)
    )
    """devices, precision, seed; steps count where epochs is 0"""

    def __post_init__(self) -> None:
        LengthOptions.__post_init__(self)
        if self.action == "train":
            check_sides(self.scales, self.longest)
        if (self.action == "evaluate") != (self.model is not None):
            raise UserError("model belongs to evaluate, which needs it; train starts from init")
        if self.queries_per_image < 1:
            raise UserError(f"queries_per_image is {self.queries_per_image}; it is at least 1")
        for name in ("min_crop", "patch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name):g}; it is at least 1 pixel")
        if not 0 <= self.flip <= 1:
            raise UserError(f"flip is {self.flip:g}; it lies in [0, 1]")
        for name in ("keep_images", "frozen_stages"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; it is 0 or more")
        if self.val_scale is not None and self.val_scale < 32:
            raise UserError(f"val_scale is {self.val_scale}; it is at least 32 pixels")

    @property
    def scored_scale(self) -> int:
        """Shorter side of an image that is scored, pixels."""
        return self.val_scale or max(self.scales)


def run(options: Options) -> int:
    """Train and save a model, or print scores and write them where a folder is named."""
    if options.action == "train":
        from updetr.oneshot_run import train_oneshot

        train_oneshot(options)
    else:
        from updetr.oneshot_scores import evaluate_oneshot

        evaluate_oneshot(options)
    return 0
