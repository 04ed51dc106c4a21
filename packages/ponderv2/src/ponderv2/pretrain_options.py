"""The options of pre-training; plain data, so that help loads no torch.

The defaults are those of the released indoor configuration of one data set, pretrain-ponder-spunet, but for
the batch, which is for one device, and for supervision: what was released always learns from labels of
images, and here that has to be asked for.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonet.errors import UserError
from nonet.training.options import TrainerOptions
from ponderv2.batch_ratios import read_ratios
from ponderv2.model_config import LossConfig, Size
from ponderv2.outdoor_options import OutdoorOptions
from ponderv2.rate_options import RateOptions

Supervision = Literal["none", "labels2d"]
Modality = Literal["none", "lidar", "camera"]


@dataclass(frozen=True, kw_only=True)
class PretrainDataOptions:
    """What is learned from."""

    data: tuple[str, ...]
    """scenes with views, KIND:PATH or KIND:PATH:SPLIT; several data sets take turns. `packed:FOLDER` is what
    `prepare` made, and the fastest"""
    frame_step: int = 1
    """every so-many-th frame of folders of frames"""
    depth_scale: float | None = None
    """depth units in a metre, for folders of frames that do not say; 1000: millimetres"""
    up: str | None = None
    """where the world's "up" is: x, -x, y, -y, z or -z; none: as the data set has it"""
    normals: Literal["given", "estimate"] = "given"
    """estimate: clouds without normals get those of their neighbourhoods; given: they have none"""
    hold_out: int = 10
    """every so-many-th view of a scene is kept from training, to validate and to draw; 0: none is"""
    channels: tuple[str, ...] = ("color", "normal")
    """what the backbone takes of a point: color, normal, coord, strength"""
    voxel: float = 0.02
    """side of a voxel, metres"""
    keep: float = 0.2
    """share of a cloud's points that is kept in training; the released code drops the other 80 %"""
    views: int = 5
    """views of a scene in a step"""
    rays: int = 256
    """rays of a view, through pixels with depth"""
    max_points: int | None = 2_000_000
    """voxels of a batch at most, on each device; scenes beyond it are left out, named and counted"""
    modality: Modality = "none"
    """none: rooms, by the options above; lidar, camera: streets, by the options outdoor.*"""
    outdoor: OutdoorOptions = field(default_factory=OutdoorOptions)
    """streets: range, volume, masks, rays, cameras"""

    def __post_init__(self) -> None:
        if not self.data:
            raise UserError("data names no scenes: give KIND:PATH or KIND:PATH:SPLIT")
        if not self.voxel > 0 or not 0 < self.keep <= 1:
            raise UserError(f"voxel is {self.voxel:g} m and keep {self.keep:g}; above 0, and in (0, 1]")
        for name in ("frame_step", "views", "rays"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is at least 1")
        if self.hold_out < 0 or self.hold_out == 1:
            raise UserError(f"hold_out is {self.hold_out}; it is 0, or from 2: a view that is left learns")
        if not self.channels or len(set(self.channels)) != len(self.channels):
            raise UserError(f"channels are {', '.join(self.channels) or 'empty'}: name each once")
        if self.max_points is not None and self.max_points < 1:
            raise UserError(f"max_points is {self.max_points}; it is at least 1, or none")
        if self.depth_scale is not None and not self.depth_scale > 0:
            raise UserError(f"depth_scale is {self.depth_scale:g}; it is positive")


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """Whether labels are learned from, and how."""

    supervision: Supervision = "none"
    """none: colour and depth alone, labels are not even handed on; labels2d: also the text vectors of
    labelled pixels, as in all that was released"""
    text: str | None = None
    """text vectors of the classes: a .npz or .safetensors file with one array a class name, or a folder or
    hub name of a CLIPTextModelWithProjection"""
    clip_reduce: Literal["correct", "legacy"] = "correct"
    """how a class's sentences become one vector; legacy: mixed with other classes, as in the released code"""
    prompt: Literal["none", "ppt"] = "none"
    """ppt: norms of their own for each data set, and a context (point prompt training)"""
    ratios: tuple[str, ...] = ()
    """steps of each data set in a turn, NAME=NUMBER, such as structured3d=4 scannet=2 s3dis=1; none: one of
    each. The batches that a step accumulates are of one data set"""
    point_text: float = 1.0
    """labels2d with ppt: weight of the loss of labelled points against the text vectors; the released code
    computes it, and never learns from it: 0"""
    lr_file: Path | None = None
    """limited reconstructions: a list of the scenes to use, one a line"""
    la_file: Path | None = None
    """limited annotations: the labelled points of each scene, which alone teach; labels of images are
    hidden"""

    def __post_init__(self) -> None:
        if self.supervision == "labels2d" and self.text is None:
            raise UserError("supervision labels2d needs text: a file of text vectors, or a CLIP text model")
        if self.supervision == "none" and self.text is not None:
            raise UserError("text is for supervision labels2d: give both, or neither")
        if self.supervision == "none" and self.la_file is not None:
            raise UserError("la_file is for supervision labels2d: without it no label is used")
        if self.la_file is not None and not (self.prompt == "ppt" and self.point_text):
            raise UserError(
                "la_file hides labels of images, and labels of points teach with prompt ppt and point_text "
                "only: give them, or leave it out"
            )
        if self.point_text < 0:
            raise UserError(f"point_text is {self.point_text:g}; it is 0 or more")
        self.ratio_of()

    def ratio_of(self) -> dict[str, int]:
        """Data set -> batches in a turn.

        Raises:
            UserError: an entry that is no NAME=NUMBER, or a name twice.
        """
        return read_ratios(self.ratios)


@dataclass(frozen=True, kw_only=True)
class PonderOptions:
    """Which model is trained."""

    size: Size = "paper"
    """of a new model: paper is the released one, small is for one GPU, tiny for two cores"""
    init: str | None = None
    """folder or run of a pre-trained model to go on from, which brings its own sizes; none: a new one"""
    volume: tuple[int, int, int] | None = None
    """cells of the volume along x, y and z; none: the size's"""
    coordinates: Literal["correct", "legacy"] | None = None
    """legacy: with the two errors of coordinates of the released code, for an ablation; none: as `init` was
    trained, else correct"""
    mask_ratio: float = 0.0
    """share of blocks of voxels that are hidden behind a learned token; in the released indoor settings 0"""
    mask_size: int = 8
    """voxels along each side of a block"""
    losses: LossConfig = field(default_factory=LossConfig)
    """weights of the losses"""

    def __post_init__(self) -> None:
        if not 0 <= self.mask_ratio < 1 or self.mask_size < 1:
            raise UserError(
                f"mask_ratio is {self.mask_ratio:g} and mask_size {self.mask_size}; in [0, 1), and from 1"
            )


@dataclass(frozen=True, kw_only=True)
class LengthOptions:
    """How long, how fast, and where the result goes."""

    batch: int = 8
    """scenes a batch, over all devices"""
    epochs: float = 0.0
    """passes over the scenes, of the first data set where there are several; 0: see trainer.steps"""
    val_scenes: int = 8
    """scenes that are validated on and drawn, evenly spaced; 0: none"""
    val_side: int = 96
    """pixels that the longer side of such a view has at most"""
    sync_norm: bool = True
    """batch statistics over all processes, so that their number changes nothing; the released code has them
    on each GPU apart"""
    out: Path | None = None
    """run folder; none: runs/ponderv2/pretrain-TIME"""
    resume: Path | None = None
    """run folder to go on with; give the same options"""
    rates: RateOptions = field(default_factory=lambda: RateOptions(lr=5e-4))
    """optimiser, rate, schedule; the released rate is 0.0005 for a batch of 8, and grows with it"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(validate_every=1000, checkpoint_every=500)
    )
    """devices, precision, seed; steps count where epochs is 0; fsdp is refused: models are small"""

    def __post_init__(self) -> None:
        if self.batch < 1 or self.val_side < 8:
            raise UserError(f"batch is {self.batch} and val_side {self.val_side}; from 1, and from 8 pixels")
        if self.epochs < 0 or self.val_scenes < 0:
            raise UserError(f"epochs is {self.epochs:g} and val_scenes {self.val_scenes}; 0 or more")
        if self.trainer.strategy == "fsdp":
            raise UserError("strategy is fsdp; these models are small, and theirs is ddp: leave it at auto")
