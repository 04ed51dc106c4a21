"""The verb `finetune insseg`: a backbone learns to tell objects apart."""

from dataclasses import dataclass, field

from nonet.errors import UserError
from ponderv2.finetune_options import GroupOptions, LearnOptions, StartOptions, check_kept
from ponderv2.rate_options import RateOptions


@dataclass(frozen=True, kw_only=True)
class Options(StartOptions, LearnOptions):
    """Fine-tune a backbone for instance segmentation (PointGroup): each voxel votes for a class and for the
    middle of its object, and shifted voxels that touch are an object. Of a pre-trained model the backbone
    alone is used."""

    stuff: tuple[str, ...] = ("wall", "floor")
    """classes that are no objects; those that the data do not have are passed over"""
    groups: GroupOptions = field(default_factory=GroupOptions)
    """how voxels become objects"""
    rates: RateOptions = field(default_factory=lambda: RateOptions(lr=0.1, schedule="poly"))
    """optimiser, rates, schedule"""

    def __post_init__(self) -> None:
        StartOptions.__post_init__(self)
        LearnOptions.__post_init__(self)
        check_kept(self)
        if self.la_file is not None:
            raise UserError(
                "la_file hides which points belong to an object, and offsets lead to its middle: limit "
                "scenes with lr_file, or name points with finetune semseg"
            )


def run(options: Options) -> int:
    """Fine-tune, save the model, its card and its page; prints the folder."""
    from ponderv2.finetuning import finetune
    from ponderv2.room_tasks import RoomTask

    finetune("finetune insseg", options, lambda say: RoomTask(options, "insseg", say))
    return 0
