"""Can a detector learn a few images by heart? If not, more training will not help (ours).

The backbone stays as it is: its maps are computed once, and transformer and heads are trained on them without
dropout and augmentation, at a rate that falls to nothing. Eight images of blood cells with 1 to 4 boxes each
take about 1,000 steps with random weights of the smallest backbone.
"""

import copy
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from nonet.data.labelled_boxes import LabelledImages
from nonet.metrics.detection import coco_scores
from updetr.detections import from_outputs
from updetr.detector import Detector
from updetr.finetune_data import EvaluationImages, collate, images_of, targets_of
from updetr.train_options import LossOptions
from updetr.training import set_loss

ENOUGH = 0.9  # AP50 at which images are known by heart
RATE = 0.064  # first rate of AdamW times the size of a query
CLIP = 0.1  # norm of the gradients, as in all of DETR's schedules


class Progress(NamedTuple):
    """How far it came.

    Attributes:
        step: steps done.
        loss: at that step.
        ap50: average precision at an overlap of one half on the images themselves, 0..1.
    """

    step: int
    loss: float
    ap50: float


def overfit(
    detector: Detector,
    labelled: LabelledImages,
    *,
    scale: int,
    longest: int,
    steps: int,
    lr: float | None = None,
    every: int = 50,
    device: str = "cpu",
    say: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Train a copy on a few images until it knows them, or the steps are over.

    Args:
        detector: what to begin with; it is left as it is.
        labelled: few images.
        scale: shorter side of an image as the detector sees it, pixels.
        longest: longer side at most, pixels.
        steps: at most.
        lr: AdamW's first rate; None: 0.064 / width, which is 1e-3 for queries of 64 numbers.
        every: steps between two looks at the AP.
        device: where to compute.
        say: called at each look.

    Raises:
        RunFailed: none of the images can be read, or a prediction is not finite.
    """
    last = Progress(0, float("nan"), 0.0)
    rate = RATE / detector.config.width if lr is None else lr
    for last in _looks(detector, labelled, scale, longest, steps, rate, every, device):
        say(last)
        if last.ap50 > ENOUGH:
            break
    return last


def _looks(
    detector: Detector, labelled: LabelledImages, scale: int, longest: int, steps: int, lr: float, every: int,
    device: str,
) -> Iterator[Progress]:  # fmt: skip
    model = copy.deepcopy(detector).to(device)
    model.eval().requires_grad_(True)  # evaluation mode: no dropout
    model.backbone.requires_grad_(False)
    data = EvaluationImages(labelled, scale=scale, longest=longest)
    batch = collate([data[0, index] for index in range(len(data))])
    moved = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()
    }
    images, targets = images_of(moved), targets_of(moved)
    with torch.no_grad():
        maps = model.backbone(images.pixels)
    sigmoid = model.sigmoid
    loss = set_loss(model, LossOptions())
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=lr, weight_decay=0.0)
    seen = [image for image in labelled.images if image.id in set(batch["ids"])]
    truth = [image.keep(~image.crowd) for image in seen]
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = lr * (1 - (step - 1) / steps)
        outputs = model.decode(model.encode_maps(maps, images.mask))
        total = loss(outputs, targets).total
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()
        if step % every == 0 or step == steps:
            with torch.no_grad():
                answers = model.decode(model.encode_maps(maps, images.mask))
            found = from_outputs(answers, batch["sizes"], ids=batch["ids"], sigmoid=sigmoid)
            scores = coco_scores(truth, found, len(labelled.names))  # type: ignore[arg-type]
            yield Progress(step, float(total.detach()), scores.values["AP50"])
