"""Matching, and the whole set loss with its gradient, for six decoder layers, against transformers' own.

`HungarianMatcher` and `ImageLoss` are the original code's matcher and criterion: the costs of every
prediction of a batch with every box of it, layer after layer. Both sides give the same assignments, and the
same losses and gradients to rounding. Three shapes: pre-training with 10 patches, COCO with 300 queries, and
two images a process.

    python -m benchmarks.updetr.speed_matching [--cuda]
"""

import sys
from functools import partial
from typing import Any

import torch
from benchmarks.harness import Row, save, table, versus
from torch import Tensor
from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss

from updetr.batches import Outputs, Targets
from updetr.losses import SetLoss
from updetr.matching import Matches, match

SEED = 0
LAYERS = 6
SHAPES = {
    "32 images, 100 queries, 10 boxes each, 1 class": (32, 100, 10, 1),
    "16 images, 300 queries, 30 boxes each, 80 classes": (16, 300, 30, 80),
    "2 images, 100 queries, 10 boxes each, 80 classes": (2, 100, 10, 80),
}
"""images, queries, boxes an image, classes"""

MATCHER = HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2)
WEIGHTS = {"loss_ce": 1, "loss_bbox": 5, "loss_giou": 2}


def main(*, tiny: bool = False, device: str = "cpu") -> list[Row]:
    """Two rows a shape."""
    torch.set_num_threads(1)
    rows = []
    for name, shape in ({"tiny": (2, 12, 3, 4)} if tiny else SHAPES).items():
        outputs, targets, theirs = made_up(*shape, device)
        timed: dict[str, Any] = {"rounds": 1, "min_seconds": 0} if tiny else {}
        timed |= {"unit": "images", "per_call": shape[0], "clock": device}
        rows.append(
            versus(
                f"matching of {name}",
                partial(match, outputs, targets),
                partial(peers_matching, outputs, theirs),
                same_pairs,
                **timed,
            )
        )
        loss = SetLoss(classes=shape[3]).to(device)
        peer = ImageLoss(MATCHER, shape[3], 0.1, ["labels", "boxes"]).to(device)
        rows.append(
            versus(
                f"matching, loss and gradient of {name}",
                partial(our_loss, loss, outputs, targets),
                partial(peers_loss, peer, outputs, theirs),
                same_losses,
                **timed,
            )
        )
    print(table(rows))
    if not tiny:
        data = "random boxes and logits, 6 layers"
        save(
            "updetr",
            rows,
            table="matching" if device == "cpu" else "matching-cuda",
            versions=("torch", "transformers", "scipy"),
            data=data,
            seed=SEED,
        )
    return rows


def made_up(
    images: int, queries: int, boxes: int, classes: int, device: str
) -> tuple[Outputs, Targets, list[dict]]:
    """Predictions with gradients, targets, and these as transformers takes them."""
    random = torch.Generator().manual_seed(SEED)
    logits = torch.randn(LAYERS, images, queries, classes + 1, generator=random).to(device).requires_grad_()
    places = torch.rand(LAYERS, images, queries, 4, generator=random).mul(0.5).add(0.1)
    places = places.to(device).requires_grad_()
    labels = torch.randint(classes, (images * boxes,), generator=random).to(device)
    true = (torch.rand(images * boxes, 4, generator=random) * 0.5 + 0.1).to(device)
    dictionaries = [
        {"class_labels": of_image, "boxes": places_of}
        for of_image, places_of in zip(labels.split(boxes), true.split(boxes), strict=True)
    ]
    return Outputs(logits, places), Targets(labels, true, [boxes] * images), dictionaries


def peers_matching(outputs: Outputs, dictionaries: list[dict]) -> list[Any]:
    """Layer by layer."""
    return [
        MATCHER({"logits": logits, "pred_boxes": boxes}, dictionaries)
        for logits, boxes in zip(outputs.logits, outputs.boxes, strict=True)
    ]


def same_pairs(ours: Matches, theirs: list[Any]) -> bool | str:
    """Whether every query has the same box in every layer."""
    boxes = len(ours.boxes[0]) // len(theirs[0])
    for layer, of_images in enumerate(theirs):
        queries = torch.cat([queries for queries, _ in of_images])
        numbers = torch.cat([found + boxes * image for image, (_, found) in enumerate(of_images)])
        found = ours.queries[layer].cpu(), ours.boxes[layer].cpu()
        if not torch.equal(found[0], queries) or not torch.equal(found[1], numbers):
            return f"layer {layer}"
    return True


def our_loss(loss: SetLoss, outputs: Outputs, targets: Targets) -> tuple[Tensor, ...]:
    """The loss and its gradients."""
    total = loss(outputs, targets).total
    return total.detach(), *torch.autograd.grad(total, outputs[:2])


def peers_loss(peer: ImageLoss, outputs: Outputs, dictionaries: list[dict]) -> tuple[Tensor, ...]:
    """The same from transformers."""
    first, last = outputs.logits[:-1], outputs.boxes[:-1]
    given = {
        "logits": outputs.logits[-1],
        "pred_boxes": outputs.boxes[-1],
        "auxiliary_outputs": [
            {"logits": logits, "pred_boxes": boxes} for logits, boxes in zip(first, last, strict=True)
        ],
    }
    parts = peer(given, dictionaries)
    total = sum(weight * parts[name] for name in parts for kind, weight in WEIGHTS.items() if kind in name)
    return total.detach(), *torch.autograd.grad(total, outputs[:2])


def same_losses(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> bool | str:
    """Whether loss and gradients agree to rounding."""
    for name, a, b in zip(("loss", "gradient of logits", "gradient of boxes"), ours, theirs, strict=True):
        if not torch.allclose(a, b, rtol=1e-4, atol=1e-6):
            return f"{name} differs by {(a - b).abs().max().item():.3g}"
    return True


if __name__ == "__main__":
    main(device="cuda" if "--cuda" in sys.argv[1:] else "cpu")
