"""The verb `pretrain`: a backbone learns by rendering what cameras saw."""

from dataclasses import dataclass

from nonet.errors import UserError
from ponderv2.pretrain_options import LabelOptions, LengthOptions, PonderOptions, PretrainDataOptions


@dataclass(frozen=True, kw_only=True)
class Options(LengthOptions, PonderOptions, LabelOptions, PretrainDataOptions):
    """Pre-train a 3D backbone by rendering colour and depth of views, with or without labels of images."""

    def __post_init__(self) -> None:
        for part in (PretrainDataOptions, LabelOptions, PonderOptions, LengthOptions):
            part.__post_init__(self)
        if self.modality != "none":
            for name, usual in (
                ("supervision", "none"),
                ("prompt", "none"),
                ("init", None),
                ("volume", None),
            ):
                if getattr(self, name) != usual:
                    raise UserError(f"{name} is for rooms: leave it out with modality {self.modality}")
            if self.mask_ratio:
                raise UserError("mask_ratio is for rooms; streets have outdoor.mask_ratio")


def run(options: Options) -> int:
    """Pre-train, save the model, its card, its pictures and its page."""
    from ponderv2.pretraining import pretrain

    pretrain(options)
    return 0
