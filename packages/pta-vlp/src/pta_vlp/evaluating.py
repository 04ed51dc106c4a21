"""Evaluation at several shares of patches: scores, what they cost, and how much of the boxes is kept (ours).

One model and one reading of the data serve all shares, one after the other. Where expressions have boxes
(grounding), recall@keep is the mean share of a box's patches among the kept ones: it foretells what dropping
costs.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nonet.data.images import image_size
from nonet.training.seeds import seed_all
from nonet.vision_language.patch_raster import rasterise
from nonet.vision_language.tasks.task import Evaluation, Task
from nonet.vision_language.tasks.task_files import Expression
from nonet.vision_language.tasks.using import measured, open_evaluation, write_evaluation
from pta_vlp.cost import full_macs, pruned_macs, tower_of
from pta_vlp.patch_selection import recall_at_keep
from pta_vlp.pruned_tasks import Pruning
from pta_vlp.select_options import SelectOptions
from pta_vlp.task_options import PrunedEvaluateOptions

Say = Callable[[str], None]


class Kept(NamedTuple):
    """What was measured at one share.

    Attributes:
        keep: share of the patches.
        patches: how many of an image's are kept.
        scores: percent by name, unless the name says otherwise; with `vision GMAC` (10^9
            multiply-accumulates of the vision tower for each example), `seconds`, `examples per second`.
    """

    keep: float
    patches: int
    scores: dict[str, float]


def evaluate_kept(options: PrunedEvaluateOptions, say: Say) -> list[Kept]:
    """Scores at each share, and `scores.json` and answers where a folder is named.

    Args:
        options: of the verb.
        say: takes lines on weights, data, and what is kept.

    Returns:
        One a share, in the order of the options.

    Raises:
        UserError: no such model or data, a selection that the model cannot do, an image that cannot be read,
            or a folder that is not empty.
    """
    pruning = Pruning(options, options.keep[0] if options.keep else None)
    task, examples = open_evaluation(options, say, pruning)
    shares = options.keep or (pruning.options.keep,)
    boxes = _boxes(task, examples)
    found: list[Kept] = []
    answers: dict[str, Evaluation] = {}
    for share in shares:
        seed_all(0)  # for a random selection
        pruning.use(task, share)
        pruning.record, pruning.kept = boxes is not None, []
        once = measured(task, examples, options)
        scores = once.scores
        if boxes is not None and pruning.kept:
            scores = {"recall@keep": 100 * box_recall(boxes, torch.cat(pruning.kept)), **scores}
        macs = vision_macs(task, examples, pruning.now) / 1e9
        scores = _before(scores, "seconds", {"vision GMAC": macs})
        found.append(Kept(share, pruning.patches, scores))
        answers["predictions" if len(shares) == 1 else f"predictions-{share:g}"] = once
    if options.out is not None:
        record: dict[str, Any] = {
            "selection": dataclasses.asdict(dataclasses.replace(pruning.options, keep=shares[0])),
            "kept": [one._asdict() for one in found],
        }
        if len(found) == 1:
            record["scores"] = found[0].scores
        write_evaluation(options, task, examples, record, answers)
    return found


def box_recall(boxes: Tensor, kept: Tensor) -> float:
    """The mean share of a box's patches that were kept.

    Args:
        boxes: (E, N) bool, the patches of each text's box.
        kept: (E, k) int64, numbers of kept patches.

    Returns:
        In 0..1.
    """
    return float(recall_at_keep(kept, boxes).mean())


def box_patches(examples: Sequence[Expression], image: tuple[int, int], patch: int) -> Tensor:
    """The patches of each expression's box, in the image as the model sees it: resized, sides apart.

    Args:
        examples: with boxes, in pixels of the stored image.
        image: height and width that the model sees, pixels.
        patch: side of a patch, pixels.

    Returns:
        (E, N) bool.
    """
    height, width = image
    rows = []
    for example in examples:
        assert example.box is not None
        x, y, w, h = example.box
        own_width, own_height = image_size(example.image)
        across, down = width / own_width, height / own_height
        rows.append((x * across, y * down, w * across, h * down))
    return rasterise(rows, image, patch)


def vision_macs(task: Task, examples: Any, options: SelectOptions) -> float:
    """What the vision tower and the detector cost for each example, if texts of an image share a batch.

    Args:
        task: whose model is asked.
        examples: texts of one or two images each; for retrieval and captions images.
        options: of the selection in use.

    Returns:
        Multiply-accumulates. For retrieval by text those of an image at full length, without the detector.
    """
    tower = tower_of(task.model.vision)
    if task.name == "retrieval" and options.by_text:
        return float(full_macs(tower))
    if task.name == "nlvr2":
        return 2 * pruned_macs(tower, options)
    if task.name in ("retrieval", "caption"):
        return float(pruned_macs(tower, options))
    images = len({example.image for example in examples})
    return pruned_macs(tower, options, texts=len(examples) / max(images, 1))


def _before(scores: dict[str, float], name: str, more: dict[str, float]) -> dict[str, float]:
    """Scores with further ones in front of a name."""
    place = list(scores).index(name)
    pairs = list(scores.items())
    return dict([*pairs[:place], *more.items(), *pairs[place:]])


def _boxes(task: Task, examples: Any) -> Tensor | None:
    if task.name != "grounding":
        return None
    return box_patches(examples, task.model.config.image_size, task.model.config.patch)
