"""What a detector answers on images it should know, taken apart: classes, boxes, or neither (ours)."""

import numpy as np
import torch

from nonet.data.labelled_boxes import LabelledImages, listed
from nonet.metrics.boxes import iou
from nonet.metrics.detection import coco_scores, percent
from updetr.batches import Outputs
from updetr.detections import Detections, from_outputs
from updetr.detector import Detector
from updetr.doctor_data import Finding
from updetr.finetune_data import EvaluationImages, collate, images_of

HALF = 0.5
SAME = 0.005  # deviation of a query's box over images, in shares of their sides, that says it ignores them


@torch.no_grad()
def answer_findings(
    detector: Detector,
    labelled: LabelledImages,
    *,
    scale: int,
    longest: int,
    device: str = "cpu",
    batch: int = 4,
) -> list[Finding]:
    """Run the detector and look at what it says.

    Args:
        detector: in evaluation mode; its classes are those of the data, in the same order.
        labelled: some images with boxes, best from the training data.
        scale: shorter side of an image as it sees it, pixels.
        longest: longer side at most, pixels.
        device: where to compute.
        batch: images at a time.

    Raises:
        RunFailed: none of the images of a batch can be read.
    """
    data = EvaluationImages(labelled, scale=scale, longest=longest)
    detector.eval().to(device)
    answers: list[Outputs] = []
    found: list[Detections] = []
    for start in range(0, len(data), batch):
        read = collate([data[0, index] for index in range(start, min(start + batch, len(data)))])
        outputs = detector(images_of(read | {name: read[name].to(device) for name in ("pixels", "mask")}))
        answers.append(Outputs(outputs.logits[-1:].float().cpu(), outputs.boxes[-1:].float().cpu()))
        found += from_outputs(outputs, read["sizes"], ids=read["ids"], sigmoid=detector.sigmoid)
    logits = torch.cat([one.logits[0] for one in answers])
    boxes = torch.cat([one.boxes[0] for one in answers])
    if not (torch.isfinite(logits).all() and torch.isfinite(boxes).all()):
        return [
            Finding("wrong", "answers", "not finite: the weights are broken; go back to a checkpoint before")
        ]
    return [_objects(logits, detector.sigmoid), _differ(boxes), *_apart(labelled, found)]


def _objects(logits: torch.Tensor, sigmoid: bool) -> Finding:
    """How many queries see an object."""
    if sigmoid:
        seen = (logits.sigmoid().amax(-1) > HALF).float().mean()
    else:
        seen = (logits.argmax(-1) < logits.shape[-1] - 1).float().mean()
    text = f"{100 * float(seen):.1f} % of the queries say that there is an object"
    if seen == 0:
        return Finding(
            "look", "no object",
            f"{text}: usual in the first hundreds of steps; later lower loss.no_object or train longer",
        )  # fmt: skip
    return Finding("fine", "no object", text)


def _differ(boxes: torch.Tensor) -> Finding:
    """Whether boxes depend on the image."""
    if len(boxes) < 2:
        return Finding("look", "boxes differ", "cannot be said of one image")
    spread = float(boxes.std(0).mean())
    text = f"a query's box varies by {spread:.3f} of the image's sides from image to image"
    if spread < SAME:
        return Finding("wrong", "boxes differ", f"{text}: the image is not looked at; is the backbone dead?")
    return Finding("fine", "boxes differ", text)


def _apart(labelled: LabelledImages, found: list[Detections]) -> list[Finding]:
    """Boxes without regard to classes, and classes where boxes are right."""
    by_id = {one.image_id: one for one in found}
    overlaps: list[float] = []
    said: list[tuple[int, int]] = []  # true and predicted class of well overlapped boxes
    seen = [image for image in labelled.images if image.id in by_id]
    for image in seen:
        single, one = image.keep(~image.crowd), by_id[image.id]
        if not len(single.boxes):
            continue
        shared = iou(single.boxes, np.asarray(one.boxes, np.float64))
        overlaps += shared.max(1).tolist()
        labels = np.asarray(one.labels)[shared.argmax(1)]
        good = shared.max(1) >= HALF
        said += list(zip(single.labels[good].tolist(), labels[good].tolist(), strict=True))
    if not overlaps:
        return [Finding("look", "overlap", "none of these images has a box")]
    scores = coco_scores(seen, found, len(labelled.names)).values  # type: ignore[arg-type]
    share = float(np.mean(np.array(overlaps) >= HALF))
    text = f"{100 * share:.0f} % of the true boxes are overlapped by half, by any query of any class"
    ap = f"AP50 of these {len(seen)} images: {percent(scores['AP50'])}"
    if share < 0.3:
        about = "boxes are not learnt yet: train longer, look at the sizes and the rates"
        return [Finding("wrong", "overlap", f"{text}: {about}"), Finding("look", "AP50 here", ap)]
    return [Finding("fine", "overlap", text), _labels(labelled, said), Finding("fine", "AP50 here", ap)]


def _labels(labelled: LabelledImages, said: list[tuple[int, int]]) -> Finding:
    """Whether classes are right where boxes are, or wrong in the same way."""
    right = float(np.mean([true == mine for true, mine in said]))
    text = f"{100 * right:.0f} % of the well placed boxes have the right class"
    if right >= HALF or len(labelled.names) < 2:
        return Finding("fine", "labels of boxes", text)
    swaps = []
    for label in sorted({true for true, _ in said}):
        answers = [mine for true, mine in said if true == label]
        usual = int(np.bincount(answers).argmax())
        if usual != label and answers.count(usual) > 0.8 * len(answers):
            swaps.append(f"{labelled.names[label]} as {labelled.names[usual]}")
    if len(swaps) > 1 and len({swap.rpartition(" as ")[2] for swap in swaps}) > 1:
        return Finding(
            "wrong", "labels of boxes", f"{text}; {listed(swaps)}: is the order of the classes another?"
        )
    return Finding("look", "labels of boxes", f"{text}: classes are learnt after boxes; train longer")
