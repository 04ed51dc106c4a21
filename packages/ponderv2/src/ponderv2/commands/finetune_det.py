"""The verb `finetune det`: a backbone learns to put boxes around objects."""

from dataclasses import dataclass, field
from typing import Literal

from nonet.errors import UserError
from ponderv2.finetune_options import GroupOptions, LearnOptions, StartOptions, check_kept
from ponderv2.outdoor_options import OutdoorOptions
from ponderv2.rate_options import RateOptions


@dataclass(frozen=True, kw_only=True)
class Options(StartOptions, LearnOptions):
    """Fine-tune a backbone for detection. In rooms each voxel votes for a class and for the middle of its
    object's box, and the box is the extent of the voxels that agree; on streets a heat map of centres, or
    queries, give turned boxes. Of a pre-trained model the backbone alone is used."""

    boxes: Literal["votes", "masks"] = "votes"
    """rooms: votes lead to the middle of a box; masks: to the mean of an object's voxels, as in `finetune
    insseg`, and boxes are those of masks"""
    stuff: tuple[str, ...] = ("wall", "floor")
    """rooms: classes that are no objects; those that the data do not have are passed over"""
    groups: GroupOptions = field(default_factory=GroupOptions)
    """rooms: how voxels become objects"""
    modality: Literal["none", "lidar", "camera"] = "none"
    """none: rooms; lidar, camera: streets, seen by one or the other"""
    outdoor: OutdoorOptions = field(default_factory=OutdoorOptions)
    """streets: range, voxels, volume, cameras"""
    head: Literal["centre", "queries"] = "centre"
    """streets: a heat map of centres, or queries that look into the volume (UVTR)"""
    rates: RateOptions = field(default_factory=lambda: RateOptions(lr=0.1, schedule="poly"))
    """optimiser, rates, schedule"""

    def __post_init__(self) -> None:
        StartOptions.__post_init__(self)
        LearnOptions.__post_init__(self)
        check_kept(self)
        if self.modality != "none" and (self.lr_file is not None or self.la_file is not None):
            raise UserError("lr_file and la_file limit labels of rooms; leave them out on streets")
        if self.la_file is not None:
            raise UserError(
                "la_file hides which points belong to an object, and offsets lead to its middle: limit "
                "scenes with lr_file, or name points with finetune semseg"
            )


def run(options: Options) -> int:
    """Fine-tune, save the model, its card and its page; prints the folder."""
    from ponderv2.finetuning import finetune

    if options.modality == "none":
        from ponderv2.room_tasks import RoomTask

        finetune("finetune det", options, lambda say: RoomTask(options, "det", say))
    else:
        from ponderv2.outdoor_task import OutdoorDetTask

        finetune("finetune det", options, lambda say: OutdoorDetTask(options, say))
    return 0
