"""Pre-train an image-text model on fewer patches, and the patch detector that selects them."""

from dataclasses import dataclass, field
from pathlib import Path

from nonet.errors import UserError
from nonet.vision_language.pretraining.options import PretrainOptions, RegionOptions
from pta_vlp.select_options import SelectOptions


@dataclass(frozen=True, kw_only=True)
class Options(PretrainOptions):
    """Pre-train on image-text pairs with a part of the patches, and teach the detector from regions.

    Zero-shot retrieval is measured on images that are kept out, once a pass.
    """

    regions: tuple[Path, ...] = ()
    """files of regions (json, jsonl), which the patch detector learns from; without them there is none, and
    the attention of CLS selects patches"""
    select: SelectOptions = field(default_factory=SelectOptions)
    """which patches go on; saved with the model, for evaluation. Here the detector's share is score_alpha"""
    score_alpha: float = 0.0
    """share of the detector in what pairs are seen with, in 0..1; attention has the rest. Above 0 image
    features know the caption that they are to find, unless patches are dropped late"""
    allow_text_conditioned_itc: bool = False
    """contrast images and texts although score_alpha is above 0"""
    itm_reprune: bool = False
    """for matching, select patches anew for the text of each pair, right or wrong, with a share of the
    detector that rises over the first pass: as the model is used, for three more times of the later blocks"""
    keep_ramp: float = 0.0
    """passes over which the share of patches that is kept falls from 1 to select.keep; 0: it does not"""
    pta: RegionOptions = field(default_factory=RegionOptions)
    """regions, and what the alignment of patches and texts counts"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.score_alpha <= 1:
            raise UserError(f"score_alpha is {self.score_alpha:g}; it lies in 0..1")
        if not self.keep_ramp >= 0:
            raise UserError(f"keep_ramp is {self.keep_ramp:g}; it is 0 or more passes")
        asked = "score_alpha above 0" if self.score_alpha else "itm_reprune" if self.itm_reprune else ""
        if asked and not self.select.by_text:
            raise UserError(
                f"{asked} asks the detector, and select.selection is {self.select.selection}: take text or "
                "mixed"
            )
        if asked and not self.regions and self.init is None:
            raise UserError(f"{asked} asks the detector, which learns from regions: give a --regions file")
        leaks = self.score_alpha and not self.select.late  # late, the blocks of CLS have seen no text
        if leaks and self.losses.itc and not self.allow_text_conditioned_itc:
            raise UserError(
                f"score_alpha is {self.score_alpha:g}: images would be contrasted by features that have seen "
                "their captions; set it or losses.itc to 0, or select.late, or --allow-text-conditioned-itc"
            )
        if self.itm_reprune and not self.losses.itm:
            raise UserError("itm_reprune is about matching, and losses.itm is 0")

    @property
    def guided(self) -> bool:
        """Whether the detector is asked in training."""
        return self.select.by_text and bool(self.score_alpha or self.itm_reprune)


def run(options: Options) -> int:
    """Pre-train, save the model, its card and its page."""
    from pta_vlp.pretraining import pretrain

    pretrain(options)
    return 0
