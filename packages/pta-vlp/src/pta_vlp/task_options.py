"""Options of the verbs that do tasks: those of `nonet.vision_language.tasks`, and which patches are kept.

Plain data, so that help loads no torch. What is not given is as the model was trained: its `select.json`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from nonet.errors import UserError
from nonet.vision_language.tasks.task_options import EvaluateOptions, FinetuneOptions, PredictOptions
from pta_vlp.select_options import Selection, SelectOptions


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a user says about the selection; the rest is the model's own."""

    selection: Selection | None = None
    """what says which patches are kept: text, attention, mixed, random or off; none: as the model was
    trained"""
    block: int | None = None
    """block behind which patches are selected, from 0; none: as the model was trained"""
    score_alpha: float | None = None
    """share of the detector in a mixed selection, in 0..1; none: as the model was trained"""
    fuse: bool | None = None
    """one more token goes on, the weighted mean of the dropped patches; none: as the model was trained"""
    late: bool | None = None
    """drop patches behind the last block, not within the vision tower: cheaper where an image has many texts;
    none: as the model was trained"""
    untrained_detector: bool = False
    """with selection text or mixed, for a model without a patch detector: take one with random weights; what
    it keeps means nothing, so this is for measuring speed, and a control"""

    def on(self, kept: SelectOptions, keep: float | None) -> SelectOptions:
        """The model's options, changed as the user says.

        Args:
            kept: of the model's folder.
            keep: share of the patches; None: the model's.

        Raises:
            UserError: a value out of its range.
        """
        given = {
            "selection": self.selection, "block": self.block, "alpha": self.score_alpha, "fuse": self.fuse,
            "keep": keep, "late": self.late,
        }  # fmt: skip
        changes: dict[str, Any] = {name: said for name, said in given.items() if said is not None}
        return dataclasses.replace(kept, **changes)


@dataclass(frozen=True, kw_only=True)
class PrunedFinetuneOptions(Choice, FinetuneOptions):
    """Fine-tune an image-text model on a task, on the patches that are kept."""

    keep: float | None = None
    """share of the patches that is kept, above 0 and at most 1; none: as the model was trained"""
    alignment: float = 0.0
    """grounding: weight of patch-text alignment, with which the detector goes on learning, from the boxes; 0:
    it stays as it is"""

    def __post_init__(self) -> None:
        FinetuneOptions.__post_init__(self)
        if self.alignment < 0:
            raise UserError(f"alignment is {self.alignment:g}; it is 0 or more")
        if self.alignment and self.task != "grounding":
            raise UserError(f"alignment learns from boxes, which grounding has, not {self.task}")
        if self.untrained_detector and not self.alignment:
            raise UserError(
                "untrained_detector: fine-tuning would keep a detector that has learnt nothing; train one "
                "with the verb detector, or here with --alignment, for grounding"
            )
        self.on(SelectOptions(), self.keep)  # says what is out of its range


@dataclass(frozen=True, kw_only=True)
class PrunedEvaluateOptions(Choice, EvaluateOptions):
    """Score a model on a task at one or several shares of patches."""

    keep: tuple[float, ...] = ()
    """shares of the patches that are kept, one after the other; none: as the model was trained"""

    def __post_init__(self) -> None:
        EvaluateOptions.__post_init__(self)
        for share in self.keep or (None,):
            self.on(SelectOptions(), share)
        if len(set(self.keep)) < len(self.keep):
            raise UserError(f"keep is {' '.join(f'{share:g}' for share in self.keep)}: name each share once")


@dataclass(frozen=True, kw_only=True)
class PrunedPredictOptions(Choice, PredictOptions):
    """Write what a model says, from the patches that are kept."""

    keep: float | None = None
    """share of the patches that is kept, above 0 and at most 1; none: as the model was trained"""

    def __post_init__(self) -> None:
        PredictOptions.__post_init__(self)
        self.on(SelectOptions(), self.keep)
