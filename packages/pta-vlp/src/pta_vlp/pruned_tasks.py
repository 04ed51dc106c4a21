"""Patch selection put into the tasks of `nonet.vision_language.tasks` (ours; TiMix's released call sites).

vqa, grounding, nlvr2  the text is there first: the trunk runs once per image of a batch, the rest per text
retrieval              by text: the tower runs at full length, and each candidate keeps its patches behind it
                       (`late_selection`); by attention: the tower itself drops patches
caption                there is no text: patches are kept by the attention of CLS

In the released code retrieval and captions have no selection at all. What differs from what the user asked
for is said, once.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nonet.errors import UserError
from nonet.vision_language.pair_folders import load_extra
from nonet.vision_language.pair_passes import look
from nonet.vision_language.patch_alignment import patch_alignment_loss
from nonet.vision_language.patch_detector import PREDICTOR
from nonet.vision_language.patch_raster import rasterise
from nonet.vision_language.tasks.retrieval_task import RetrievalTask
from nonet.vision_language.tasks.task import Task, Terms, counted
from pta_vlp.late_selection import LateLook, LateMatching
from pta_vlp.model_folders import SELECT, detector_for, read_select, select_json, untrained_detector
from pta_vlp.pruned_look import PrunedLook
from pta_vlp.pruned_vision import PrunedVision, Trunk
from pta_vlp.select_options import SelectOptions
from pta_vlp.task_options import Choice

Say = Callable[[str], None]

TEXTLESS = ("caption",)  # tasks whose images are seen before there is a text


class Pruning:
    """Puts a selection into a task: an `Equip` of `nonet.vision_language.tasks.starting`.

    Args:
        choice: what the user says about the selection.
        keep: share of the patches; None: the model's.
        alignment: weight of patch-text alignment in training for grounding; 0: the detector does not learn.

    Attributes:
        options: of the selection, once a task is equipped: what its folder keeps.
        kept: numbers of kept patches (E, k), batch by batch, while `record` is set.
        record: whether to take them down.
    """

    def __init__(self, choice: Choice, keep: float | None = None, alignment: float = 0.0) -> None:
        self.choice, self.keep, self.alignment = choice, keep, alignment
        self.options = SelectOptions()
        self.kept: list[Tensor] = []
        self.record = False
        self._pruned: PrunedVision | None = None
        self._last: tuple[Trunk, Tensor | None, Tensor | None] | None = None

    def __call__(self, task: Task, folder: Path, say: Say) -> None:
        """Equip a task.

        Args:
            task: whose images are seen from now on as the selection says.
            folder: of its model; has the detector, and how patches were selected in training.
            say: takes what is selected by what.

        Raises:
            UserError: the selection asks a detector that is not there, or looks behind another block.
        """
        model, detector = task.model, detector_for(task.model)
        found = load_extra(folder, PREDICTOR, detector, say=say)
        trained = read_select(folder, model.vision.depth, with_detector=found)
        self.options = self.choice.on(trained, self.keep)
        if self.options.selection != "off" and self.options.block >= model.vision.depth:
            raise UserError(
                f"block {self.options.block}: the vision tower has blocks 0 to {model.vision.depth - 1}"
            )
        if found:
            if self.options.by_text and self.options.block != trained.block and (folder / SELECT).is_file():
                raise UserError(
                    f"block {self.options.block}: the patch detector of {folder} has learnt to look behind "
                    f"block {trained.block}; leave out block, or take selection attention"
                )
            task.parts[PREDICTOR] = detector.requires_grad_(self.alignment > 0)  # from boxes alone
        elif self.choice.untrained_detector and self.options.by_text:
            found, detector = True, untrained_detector(model)
            task.parts[PREDICTOR] = detector.requires_grad_(self.alignment > 0)
            say(f"{folder}: no patch detector in it; one with random weights says which patches are kept")
        elif self.choice.selection is None and not (folder / SELECT).is_file():
            say(f"{folder}: no patch detector in it, so patches are kept by the attention of CLS")
        task.files[SELECT] = select_json(self.options)
        self._pruned = PrunedVision(model.vision, detector if found else None, self.options)
        self.use(task, self.options.keep)
        if self.alignment:
            if not self.now.by_text:
                raise UserError(
                    "alignment is learnt where patches are selected by the text: take selection text or "
                    "mixed, and keep below 1"
                )
            task.more = self._align
        say(self.said(task))

    def use(self, task: Task, keep: float) -> None:
        """Keep another share of the patches from now on.

        Args:
            task: that was equipped.
            keep: share of the patches.

        Raises:
            UserError: it is not above 0 and at most 1.
        """
        assert self._pruned is not None
        options = dataclasses.replace(self.options, keep=keep)
        late = isinstance(task, RetrievalTask) and options.by_text  # whatever options.late says
        if keep == 1:
            options = dataclasses.replace(options, selection="off")
        elif task.name in TEXTLESS and options.by_text:
            options = dataclasses.replace(options, selection="attention")
        self._pruned.options = options
        everything = options.selection == "off"
        task.see = None if everything or late else self._see
        if isinstance(task, RetrievalTask):
            losses, task.matching = task.pair_losses, None
            losses.see, losses.see_pairs = look if everything or late else PrunedLook(options), None
            if late and not everything:
                task.matching = LateMatching(task.model, self._pruned)
                learnt = LateLook(task.model, self._pruned)
                losses.see, losses.see_pairs = learnt, learnt.pairs

    @property
    def now(self) -> SelectOptions:
        """How patches are selected now, for this task: `options` with the share in use, and with what stands
        in where there is no text."""
        assert self._pruned is not None
        return self._pruned.options

    @property
    def patches(self) -> int:
        """How many patches of an image are kept."""
        assert self._pruned is not None
        return self._pruned.kept()

    def said(self, task: Task) -> str:
        """A line on what is kept, by what, and where."""
        assert self._pruned is not None
        options, grid = self._pruned.options, task.model.vision.grid
        if options.selection == "off":
            return f"{task.name}: all {grid[0] * grid[1]} patches are kept"
        how = f"{self.patches} of {grid[0] * grid[1]} patches are kept by {options.selection}"
        if isinstance(task, RetrievalTask) and options.by_text:
            line = (
                f"{task.name}: features of images cannot know the text, so the vision tower runs at full "
                f"length, and for the matching head {how}"
            )
            if task.model.fusion.connects:
                return line
            return f"{line}, which saves no time here: an image's keys are computed once for all texts"
        last = task.model.vision.depth - 1
        line = f"{task.name}: {how}, behind block {last if options.late else options.block} of 0 to {last}"
        if options.selection != self.options.selection:
            line += f"; selection {self.options.selection} has no text to ask here"
        return line

    def _see(self, images: Tensor, text: Tensor | None, of_image: Tensor | None) -> Tensor:
        assert self._pruned is not None
        trunk = self._pruned.trunk(images, with_text=text is not None)
        found = self._pruned.finish(trunk, text, of_image)
        self._last = (trunk, text, of_image) if self.alignment else None
        if self.record and found.kept is not None:
            self.kept.append(found.kept.cpu())
        return found.tokens

    def _align(self, batch: dict[str, Any]) -> Terms:
        """`alignment`: cross entropy of all patches, from what `_see` has just seen of the batch."""
        assert self._pruned is not None
        assert self._last is not None
        (trunk, text, of_image), self._last = self._last, None
        detector, part = self._pruned.detector, trunk.image_part
        assert detector is not None
        assert part is not None
        assert text is not None
        logits = detector.join(part if of_image is None else part[of_image], detector.text_part(text))
        masks = patches_of(batch["boxes"], self._pruned.vision.image_size, self._pruned.vision.patch)
        loss = patch_alignment_loss(logits, masks.to(logits.device)).loss
        return {"alignment": counted(self.alignment * loss * len(logits), len(logits))}


def patches_of(boxes: Tensor, image: tuple[int, int], patch: int) -> Tensor:
    """The patches of boxes.

    Args:
        boxes: (E, 4), centre x, centre y, width and height as shares of the image.
        image: its height and width as the model sees it, pixels.
        patch: side of a patch, pixels.

    Returns:
        (E, N) bool on the CPU.
    """
    size = boxes.new_tensor([image[1], image[0]])
    centre, extent = boxes[:, :2] * size, boxes[:, 2:] * size
    return rasterise(torch.cat([centre - extent / 2, extent], 1), image, patch)
