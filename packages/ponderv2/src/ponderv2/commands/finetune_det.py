"""The verb `finetune det`: a backbone learns to put boxes around objects."""

from dataclasses import dataclass, field
from typing import Literal

from nonet.errors import UserError
from ponderv2.finetune_options import GroupOptions, LearnOptions, StartOptions, check_kept
from ponderv2.outdoor_options import OutdoorOptions
from ponderv2.outdoor_refusals import FINETUNING, refuse_for_streets
from ponderv2.rate_options import RateOptions

ROOM_RATES = RateOptions(lr=0.1, schedule="poly")
STREET_RATES = RateOptions(
    optimizer="adamw", lr=2e-4, weight_decay=0.01, schedule="onecycle", rise=0.4, div=10.0, final_div=1e4
)
"""from 2e-5 up to 2e-4 and down to 2e-9, as UniPAD's detectors by LiDAR learn"""


@dataclass(frozen=True, kw_only=True)
class Options(StartOptions, LearnOptions):
    """Fine-tune a backbone for detection. In rooms each voxel votes for a class and for the middle of its
    object's box, and the box is the extent of the voxels that agree; on streets a heat map of centres, or
    queries, give turned boxes. Of a pre-trained model the backbone alone is used."""

    frame_step: int = 1
    """every so-many-th frame of folders of frames; streets: of all frames of data, not of those of val"""
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
    rates: RateOptions = field(default_factory=lambda: ROOM_RATES)
    """optimiser, rates, schedule; streets, where none are given: adamw at 0.0002, onecycle with rise 0.4"""

    def __post_init__(self) -> None:
        StartOptions.__post_init__(self)
        LearnOptions.__post_init__(self)
        check_kept(self)
        if self.modality != "none" and (self.lr_file is not None or self.la_file is not None):
            raise UserError("lr_file and la_file limit labels of rooms; leave them out on streets")
        if self.modality != "none":
            self._check_street()
        if self.la_file is not None:
            raise UserError(
                "la_file hides which points belong to an object, and offsets lead to its middle: limit "
                "scenes with lr_file, or name points with finetune semseg"
            )

    def _check_street(self) -> None:
        refuse_for_streets(self, FINETUNING)
        if self.outdoor.image_rate != OutdoorOptions().image_rate:
            raise UserError(
                "outdoor.image_rate is for pretrain; here backbone_rate is the factor of the whole backbone"
            )
        if self.augment == "gentle":
            raise UserError("augment gentle is for rooms: streets have full and none")
        if self.rates == ROOM_RATES:
            object.__setattr__(self, "rates", STREET_RATES)
        elif self.rates.optimizer == "sgd":
            raise UserError(
                "rates: sgd is for rooms, and detectors on streets learn by adamw: give rates.optimizer "
                "adamw with your rate, or leave rates out"
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
