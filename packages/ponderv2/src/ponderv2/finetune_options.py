"""The options that fine-tuning and probing share; plain data, so that help loads no torch.

The defaults are those of the released configurations (PonderV2, semseg-* and insseg-*) but for the batch,
which is for one device. What a machine without GPUs can do are the presets `tiny`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nonet.errors import UserError
from nonet.training.options import TrainerOptions
from ponderv2.model_config import Size
from ponderv2.rate_options import RateOptions

Augment = Literal["full", "gentle", "none"]


@dataclass(frozen=True, kw_only=True)
class GroupOptions:
    """How voxels become objects."""

    radius: float = 1.5
    """shifted voxels of one class within this distance touch, in voxels"""
    least: int = 100
    """groups of more voxels than this are objects"""
    unshifted: bool = False
    """group the voxels where they are, too, as the paper of PointGroup does and the released code does not;
    of two groups that overlap the better one is kept"""

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise UserError(f"groups.radius is {self.radius:g} voxels; it is positive")
        if self.least < 0:
            raise UserError(f"groups.least is {self.least}; it is 0 or more")


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How scenes are read."""

    frame_step: int = 1
    """every so-many-th frame of folders of frames"""
    depth_scale: float | None = None
    """depth units in a metre, for folders of frames that do not say; 1000: millimetres"""
    normals: Literal["given", "estimate"] = "given"
    """estimate: clouds without normals get those of their neighbourhoods; given: they have none"""

    def __post_init__(self) -> None:
        if self.frame_step < 1:
            raise UserError(f"frame_step is {self.frame_step}; it is at least 1")
        if self.depth_scale is not None and not self.depth_scale > 0:
            raise UserError(f"depth_scale is {self.depth_scale:g}; it is positive")

    def reading(self) -> dict[str, Any]:
        """These options as `reading.open_scenes` takes them."""
        return {"frame_step": self.frame_step, "depth_scale": self.depth_scale, "normals": self.normals}


@dataclass(frozen=True, kw_only=True)
class TaskDataOptions(ReadingOptions):
    """Which labelled scenes are learned from, and what is read of them."""

    data: tuple[str, ...]
    """labelled scenes to train on, KIND:PATH or KIND:PATH:SPLIT, such as scannet:scans:train"""
    val: tuple[str, ...] = ()
    """labelled scenes to validate on, likewise; none: nothing is validated"""
    lr_file: Path | None = None
    """limited reconstructions: a list of the scenes to train on, one a line"""
    la_file: Path | None = None
    """limited annotations: the labelled points of each scene, as a torch file of the public benchmark, JSON,
    .npz, or a folder of SCENE.txt; all other labels are hidden; for classes of points alone"""
    channels: tuple[str, ...] = ()
    """what the backbone takes of a point: color, normal, coord, strength; none: as `init` was trained, else
    color and normal"""
    voxel: float | None = None
    """side of a voxel, metres; none: as `init` was trained, else 0.02"""

    def __post_init__(self) -> None:
        if not self.data:
            raise UserError("data names no scenes: give KIND:PATH or KIND:PATH:SPLIT")
        ReadingOptions.__post_init__(self)
        if self.voxel is not None and not self.voxel > 0:
            raise UserError(f"voxel is {self.voxel:g} metres; it is positive")
        if len(set(self.channels)) != len(self.channels):
            raise UserError(f"channels are {', '.join(self.channels)}: one stands twice")


@dataclass(frozen=True, kw_only=True)
class StartOptions(TaskDataOptions):
    """Which backbone is trained."""

    init: str | None = None
    """pre-trained model to start from: a model or run folder, or a file of weights; none: from scratch"""
    allow_partial: bool = False
    """start even where under 90 % of the backbone's weights are in `init`"""
    size: Size = "small"
    """of a backbone from scratch"""
    prompt: str | None = None
    """the data set whose norms are used, where the backbone has those of several and not of this one"""


@dataclass(frozen=True, kw_only=True)
class LearnOptions:
    """How long and how a task is learned."""

    augment: Augment = "full"
    """full: turns, scales, flips, shakes, bent space, colours, crops; gentle: without bends and tilts, for
    tables and objects rather than rooms; none: voxels as they are"""
    crop: int = 100_000
    """voxels of a scene at most while training, around a random one; 0: all"""
    batch: int = 12
    """scenes a batch, over all devices"""
    epochs: float = 0.0
    """passes over the scenes, of the first data set where there are several; 0: see trainer.steps"""
    validate_epochs: float = 0.0
    """such passes between two validations; 0: trainer.validate_every says it, in steps"""
    keep: Literal["last", "best"] = "last"
    """weights that are kept: the last ones, or those of the best validation, whose score is then too good"""
    backbone_rate: float = 1.0
    """factor of the backbone's learning rate; 0: it is frozen, with its norms"""
    out: Path | None = None
    """run folder; none: runs/ponderv2/VERB-TIME"""
    resume: Path | None = None
    """run folder to go on with; give the same options"""
    rates: RateOptions = field(default_factory=RateOptions)
    """optimiser, rates, schedule"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(clip=10.0, validate_every=0, checkpoint_every=500)
    )
    """devices, precision, seed; steps count where epochs is 0; fsdp is refused: models are small"""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UserError(f"batch is {self.batch}; it is at least 1")
        for name in ("epochs", "validate_epochs", "crop", "backbone_rate"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name):g}; it is 0 or more")
        if self.trainer.strategy == "fsdp":
            raise UserError("strategy is fsdp; these models are small, and theirs is ddp: leave it at auto")


def check_kept(options: Any) -> None:
    """Refuse to keep the best of no validation.

    Raises:
        UserError: `keep` is best and there is nothing to validate on.
    """
    if options.keep == "best" and not options.val:
        raise UserError("keep is best, but val names no scenes: there is no best of no validation")


def joined(names: Iterable[str]) -> str:
    """Names in a line, ten at most."""
    listed = list(names)
    return ", ".join(listed[:10]) + (f" and {len(listed) - 10} more" if len(listed) > 10 else "")
