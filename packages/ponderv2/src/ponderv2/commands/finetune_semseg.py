"""The verb `finetune semseg`: a backbone learns to name every point."""

from dataclasses import dataclass
from typing import Literal

from nonet.errors import UserError
from ponderv2.batch_ratios import read_ratios
from ponderv2.finetune_options import LearnOptions, StartOptions, check_kept


@dataclass(frozen=True, kw_only=True)
class Options(StartOptions, LearnOptions):
    """Fine-tune a backbone for semantic segmentation, on one data set or on several together; the model is a
    folder that `evaluate` and `predict` take. Of a pre-trained model the backbone alone is used."""

    head: Literal["linear", "text"] = "linear"
    """linear: a layer for each data set; text: likeness to the names of the classes, which several data sets
    share"""
    text: str | None = None
    """head text: vectors of the class names, a .npz or .safetensors file or a CLIPTextModelWithProjection"""
    clip_reduce: Literal["correct", "legacy"] = "correct"
    """how the vectors of several sentences on a class become one; legacy: mixed with other classes, as in the
    released code"""
    ratios: tuple[str, ...] = ()
    """steps of each data set in a turn, NAME=NUMBER, such as structured3d=4 scannet=2 s3dis=1; none: one of
    each. The batches that a step accumulates are of one data set"""
    lovasz: float = 0.0
    """weight of the Lovasz loss beside cross-entropy; 1 in the released joint training"""
    mix3d: float = 0.8
    """share of batches whose scenes are laid into one another, two by two"""

    def __post_init__(self) -> None:
        StartOptions.__post_init__(self)
        LearnOptions.__post_init__(self)
        check_kept(self)
        if (self.head == "text") != (self.text is not None):
            raise UserError("head text and text come together: give both, or neither")
        read_ratios(self.ratios)
        if self.lovasz < 0:
            raise UserError(f"lovasz is {self.lovasz:g}; it is 0 or more")
        if not 0 <= self.mix3d <= 1:
            raise UserError(f"mix3d is {self.mix3d:g}; it lies in [0, 1]")


def run(options: Options) -> int:
    """Fine-tune, save the model, its card and its page; prints the folder."""
    from ponderv2.finetuning import finetune
    from ponderv2.room_tasks import RoomTask

    finetune("finetune semseg", options, lambda say: RoomTask(options, "semseg", say))
    return 0
