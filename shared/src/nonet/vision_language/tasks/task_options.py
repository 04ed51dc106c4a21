"""Options of fine-tuning, evaluation and prediction: plain data, so that help loads no torch (ours)."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nonet.errors import UserError
from nonet.training.options import TrainerOptions
from nonet.vision_language.tasks.task_settings import DEFAULTS, TaskName, TaskSettings


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """Fine-tune an image-text model on a task."""

    task: TaskName = field(metadata={"positional": True})
    """retrieval, vqa, caption, nlvr2 or grounding"""
    model: str
    """folder or hub name of a pre-trained model, or folder of a run"""
    train: tuple[str, ...]
    """files to train on: pairs for retrieval and caption, else JSON or JSON Lines in ALBEF's layout"""
    val: tuple[str, ...] = ()
    """files to validate on; none: nothing is validated, the last weights are kept"""
    images: Path | None = None
    """folder that the files' image paths are below; none: looked for near each file"""
    split: str | None = None
    """part of a dataset_*.json (Karpathy's) to train on, such as train+restval"""
    val_split: str | None = None
    """part of a dataset_*.json to validate on, such as val"""
    answers: Path | None = None
    """JSON list of answers, for vqa: validation picks one of them instead of writing freely"""
    out: Path | None = None
    """new folder for the run; none: runs/<package>/finetune-<time>"""
    resume: Path | None = None
    """folder of a run to go on with"""
    image: int | None = None
    """height and width of an image, pixels; none: retrieval and grounding 336, else 384"""
    max_length: int | None = None
    """word pieces of a text with both ends; none: retrieval 30, vqa 50, caption 25, nlvr2 and grounding 40"""
    decoder_layers: int | None = None
    """layers of the decoder that vqa and caption add to a model without one; none: as the fusion has"""
    beams: int | None = None
    """sequences that are searched at once in validation; none: 5"""
    shortest: int | None = None
    """word pieces of an answer or a caption, at least; none: vqa 1, caption 8"""
    longest: int | None = None
    """word pieces of an answer or a caption, at most; none: vqa 10, caption 25"""
    rerank: int = 256
    """retrieval: candidates of each query that the matching head scores in validation; 0: cosines alone"""
    queue: int = 65536
    """retrieval: pairs before the batch whose features are negatives, too; 0: none"""
    momentum: float = 0.995
    """retrieval: share of itself that the momentum model keeps in a step"""
    alpha: float = 0.4
    """retrieval: share of the momentum model in what is learnt, once the first epoch is over"""
    batch: int | None = None
    """examples a batch, over all devices; none: retrieval, vqa and nlvr2 128, caption 64, grounding 32"""
    epochs: float | None = None
    """passes over the examples; none: retrieval and vqa 8, caption 5, nlvr2 10, grounding 120; 0:
    trainer.steps"""
    validate_epochs: float = 1.0
    """passes between two validations, where trainer.validate_every is 0; 0: one at the end"""
    lr: float | None = None
    """learning rate; none: vqa 3e-5, nlvr2 and grounding 2e-5, retrieval and caption 1e-5"""
    lr_visual: float | None = None
    """learning rate of the vision tower; none: retrieval 2e-6, nlvr2 2e-5, else 5e-6"""
    weight_decay: float = 0.02
    """of weight matrices, times the rate"""
    warmup: float = 0.05
    """share of the steps in which the rate rises; it falls as a cosine after that"""
    scale: tuple[float, float] = (0.5, 1.0)
    """least and greatest share of an image's area that a training crop keeps; a crop of grounding keeps its
    box whole instead"""
    careful_flip: bool = True
    """no mirror image where the text says left or right"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(clip=1.0, validate_every=0, checkpoint_every=500)
    )
    """devices, precision, seed; steps count where epochs is 0"""

    def __post_init__(self) -> None:
        if not self.train:
            raise UserError("no files to train on: name them with --train")
        for name in ("batch", "decoder_layers", "beams", "longest", "image"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; it is at least 1")
        for name in ("lr", "lr_visual"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name} is {value:g}; it is above 0")
        for name in ("rerank", "validate_epochs", "weight_decay"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name):g}; it is 0 or more")
        if self.epochs is not None and self.epochs < 0:
            raise UserError(f"epochs is {self.epochs:g}; it is 0 or more")
        if not 0 <= self.momentum < 1 or not 0 <= self.alpha <= 1 or self.queue < 0:
            raise UserError("momentum lies in [0, 1), alpha in 0..1, and queue is 0 or more")
        if not 0 <= self.warmup < 1:
            raise UserError(f"warmup is {self.warmup:g}; a share of the steps, in [0, 1)")
        if self.answers is not None and self.task != "vqa":
            raise UserError(f"answers are for vqa, not for {self.task}")
        self.settings()  # says what does not fit

    def settings(self) -> TaskSettings:
        """What the fine-tuned model keeps."""
        given = {name: getattr(self, name) for name in ("max_length", "beams", "shortest", "longest")}
        kept = {name: value for name, value in given.items() if value is not None}
        return dataclasses.replace(DEFAULTS[self.task].settings, **kept)

    def filled(self, name: Literal["image", "batch", "lr", "lr_visual", "epochs"]) -> Any:
        """An option's value, or the task's own where none is given."""
        value = getattr(self, name)
        return getattr(DEFAULTS[self.task], name) if value is None else value


@dataclass(frozen=True, kw_only=True)
class UseOptions:
    """What evaluation and prediction share."""

    task: TaskName = field(metadata={"positional": True})
    """retrieval, vqa, caption, nlvr2 or grounding"""
    model: str
    """folder or hub name of a model, or folder of a run"""
    images: Path | None = None
    """folder that the files' image paths are below; none: looked for near each file"""
    split: str | None = None
    """part of a dataset_*.json (Karpathy's), such as test"""
    answers: Path | None = None
    """JSON list of answers, for vqa: one of them is picked instead of writing freely"""
    image: int | None = None
    """height and width of an image, pixels; none: as the model was trained"""
    max_length: int | None = None
    """word pieces of a text with both ends; none: as the model was trained"""
    beams: int | None = None
    """sequences that are searched at once; none: as the model was fine-tuned, else 5"""
    shortest: int | None = None
    """word pieces of an answer or a caption, at least; none: likewise, else vqa 1, caption 8"""
    longest: int | None = None
    """word pieces of an answer or a caption, at most; none: likewise, else vqa 10, caption 25"""
    rerank: int | None = None
    """retrieval: candidates of each query that the matching head scores; 0: cosines alone; none: 256, or 0
    where no training taught it"""
    batch: int = 32
    """examples at once"""
    workers: int = 0
    """processes that read images; 0: this one"""
    device: str = "auto"
    """cpu, cuda, cuda:1; auto: the first GPU, else the CPU"""

    def __post_init__(self) -> None:
        if self.batch < 1 or self.workers < 0 or (self.rerank or 0) < 0:
            raise UserError("batch is at least 1; workers and rerank are 0 or more")
        if self.answers is not None and self.task != "vqa":
            raise UserError(f"answers are for vqa, not for {self.task}")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(UseOptions):
    """Score a model on a task."""

    data: tuple[str, ...]
    """files with the truth: pairs for retrieval and caption, else JSON or JSON Lines in ALBEF's layout"""
    out: Path | None = None
    """new folder for scores.json and predictions.jsonl; none: nothing is written"""


@dataclass(frozen=True, kw_only=True)
class PredictOptions(UseOptions):
    """Write what a model says."""

    input: tuple[str, ...]
    """files as for evaluation, whose answers, labels and boxes are not looked at; caption: image files and
    folders, too"""
    out: Path
    """new JSON Lines file, one object an example"""
    top: int = 10
    """retrieval: texts of each image and images of each text, the nearest"""

    def __post_init__(self) -> None:
        UseOptions.__post_init__(self)
        if self.top < 1:
            raise UserError(f"top is {self.top}; it is at least 1")
