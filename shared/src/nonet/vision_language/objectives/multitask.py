"""Many tasks as one: the text says which, boxes are tokens, and one language-model loss learns them all.

VL-T5 (Cho et al. 2021) names regions by tokens, `<vis_extra_id_7>`; OFA (Wang et al. 2022) writes a box as
four of 1000 location tokens; both put an instruction before the text.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from nonet.errors import UserError
from nonet.vision_language.objectives.language import token_losses
from nonet.vision_language.objectives.objective import IGNORE, Objective, mean_over, widen

# Shapes: B examples, T tokens, V vocabulary.

BINS = 1000
"""location tokens of OFA"""

INSTRUCTIONS: Mapping[str, str] = MappingProxyType(
    {
        "span-prediction": "span prediction: {text}",
        "vqa": "vqa: {text}",
        "image-text-match": "image text match: {text}",
        "grounded-caption": "caption region: {text}",
        "referring-expression": "visual grounding: {text}",
    }
)
"""text that names the task, in VL-T5's manner; its answers are texts, `true` and `false` for a match"""


def instruct(task: str, text: str) -> str:
    """The text with the instruction of its task before it.

    Raises:
        UserError: there is no such task.
    """
    if task not in INSTRUCTIONS:
        raise UserError(f"no instruction for the task {task!r}; there are {', '.join(INSTRUCTIONS)}")
    return INSTRUCTIONS[task].format(text=text)


def box_to_bins(boxes: Tensor, *, bins: int = BINS) -> Tensor:
    """Four location numbers of each box: round(x * (bins - 1)), as in OFA's code.

    Args:
        boxes: (..., 4) float, xyxy in 0..1 of the image.
        bins: how many there are.

    Returns:
        (..., 4) int64 in 0..bins - 1; (0, .25, .5, 1) gives (0, 250, 500, 999): halves go to the even one.

    Raises:
        UserError: a box is outside 0..1, or its corners are in the wrong order.
    """
    boxes = widen(boxes)
    wrong = ~((boxes >= 0) & (boxes <= 1)).all(-1) | (boxes[..., 2:] < boxes[..., :2]).any(-1)
    if bool(wrong.any()):
        place = tuple(wrong.nonzero()[0].tolist())
        raise UserError(
            f"box {place}: {boxes[place].tolist()} is not xyxy in 0..1; divide by width and height"
        )
    return (boxes * (bins - 1)).round().long()


def bins_to_box(numbers: Tensor, *, bins: int = BINS) -> Tensor:
    """Boxes that location numbers stand for, at most half a bin off: (..., 4) float, xyxy in 0..1."""
    return numbers.float() / (bins - 1)


def regions_to_ids(regions: Tensor, *, first_id: int, number: int) -> Tensor:
    """Ids of the tokens that name regions by their place in the list of regions, or boxes by their bins.

    Args:
        regions: (...) int64 from 0.
        first_id: id of the token of region or bin 0; those of the others follow it.
        number: of such tokens.

    Raises:
        UserError: a region has no token.
    """
    if bool(((regions < 0) | (regions >= number)).any()):
        raise UserError(f"a region or bin is outside 0..{number - 1}, for which there are tokens")
    return regions + first_id


def seq2seq_multitask(
    logits: Tensor, labels: Tensor, tasks: Tensor, *, weights: Tensor | None = None
) -> Objective:
    """One language-model loss over the answers of all tasks, and what each task has of it.

    loss = 1/B sum over examples of weight * mean over its tokens of -log P(y_t | y_<t, instruction, v): each
    counts once, however long its answer, as in VL-T5's code. Examples without labels are not counted.

    Args:
        logits: (B, T, V) float of the decoder, aligned with the labels.
        labels: (B, T) int64, words and location tokens; -100 for padding.
        tasks: (B,) int64: number of each example's task, from 0.
        weights: (K,) float of each task; None: all 1.

    Returns:
        The loss; aux: task_losses, task_counts (each (K,); K as far as tasks or weights go).
    """
    counted = labels != IGNORE
    losses = token_losses(logits, labels)
    each = losses.sum(1) / counted.sum(1).clamp_min(1)  # token losses of -100 are 0
    present = counted.any(1)
    kinds = (int(tasks.max()) + 1 if len(tasks) else 0) if weights is None else len(weights)
    weighted = each if weights is None else each * weights.to(each)[tasks]
    shares = torch.zeros(kinds, dtype=each.dtype, device=each.device)
    counts = shares.index_add(0, tasks, present.to(each))
    sums = shares.index_add(0, tasks, each.detach() * present)
    aux = {"task_losses": sums / counts.clamp_min(1), "task_counts": counts}
    return Objective(mean_over(weighted, present), aux)
