"""The parts of `updetr demo`: a backbone and a transformer without labels, then two detectors (ours).

Both detectors have the same frozen backbone and see the same few labelled pictures in the same order; one
transformer begins with random weights, the other has learnt to find the patches of unlabelled pictures. The
frozen backbone sees each picture and patch once; training is short loops over its features. The verbs
`backbone`, `pretrain` and `finetune` do the same on images of any size, with changes of colour, flips, runs
and checkpoints.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from nonet.data.batching import RandomBatches, generator
from nonet.data.images import normalise, open_image, to_uint8
from nonet.kernels.crop_resize import crop_resize
from nonet.metrics.detection import coco_scores
from updetr import toy
from updetr.backbone_base import Backbone
from updetr.backbones import build_backbone
from updetr.batches import Targets
from updetr.detections import from_outputs
from updetr.detector import Detector
from updetr.detector_config import DetectorConfig
from updetr.drawing import Marks, beside, draw
from updetr.labelled_data import read_labelled
from updetr.locating import Found, locate, overlap
from updetr.losses import SetLoss
from updetr.patch_sampling import patches_of, relative_boxes
from updetr.query_patches import PatchDetector, keep_queries, patch_means
from updetr.view_contrast import Views, contrast

if TYPE_CHECKING:
    from PIL.Image import Image

# Shapes: n pictures, R rounds of patches, M patches of a picture, C channels, h x w tokens.

SCRATCH, PRETRAINED = "from scratch", "pre-trained"
"""names of the two detectors"""
LOCATED, DETECTED = "located.png", "detected.png"
"""pictures in the demo's folder"""
CROPS, SHOWN = 9, 5  # crops, and pictures with detections, on the page
LARGER = 3  # times a picture's size on the page
SCORE = 0.3  # of the boxes that are drawn
WIDTH, HEIGHT = toy.SIZE
CONSTANT = (0.1 * WIDTH, 0.1 * HEIGHT, 0.9 * WIDTH, 0.9 * HEIGHT)
"""a box in the middle, xyxy in pixels"""

Curve = list[tuple[float, float]]  # (step, value)


class Plan(NamedTuple):
    """How large and long everything is."""

    pool: int = 320
    """pictures without labels"""
    train: int = 48
    """pictures with labels"""
    test: int = 64
    """held-out pictures"""
    backbone_steps: int = 40
    pretrain_steps: int = 480
    finetune_steps: int = 160
    every: int = 40
    """steps between two scorings of a detector"""
    rounds: int = 3
    """times that patches are cut from each picture"""
    width: int = 64
    queries: int = 12
    patches: int = 4
    patch_size: int = 32
    batch: int = 32


class Pictures(NamedTuple):
    """Labelled pictures as the frozen backbone sees them.

    Attributes:
        maps: (n, C, h, w) float32.
        boxes: for each picture (t, 4) float32 cxcywh in 0..1.
        labels: for each picture (t,) int64.
    """

    maps: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]


class Fit(NamedTuple):
    """A detector after fine-tuning.

    Attributes:
        detector: in evaluation mode.
        ap50: (step, AP50 x 100) on held-out pictures.
        error: (step, L1 distance of matched boxes, four numbers in shares of the sides) on them.
    """

    detector: Detector
    ap50: Curve
    error: Curve


def write_data(plan: Plan, folder: Path, seed: int) -> dict[str, str]:
    """Write the pictures; gives `coco:...` of `pool`, `train` and `test`, which are apart."""
    sources, first = {}, 0
    for name, count in (("pool", plan.pool), ("train", plan.train), ("test", plan.test)):
        sources[name] = toy.write_pictures(folder / name, count, first=first, seed=seed)
        first += count
    return sources


def pixels_of(folder: Path) -> Tensor:
    """(n, 3, H, W) uint8: the pictures of a folder in the order of their names."""
    return torch.stack([to_uint8(open_image(path)) for path in sorted(folder.glob("*.png"))])


def train_backbone(pixels: Tensor, plan: Plan, seed: int) -> Backbone:
    """A small backbone that tells crops of one picture from those of others; frozen."""
    torch.manual_seed(seed)
    views = Views(build_backbone("resnet-tiny", norm="batch")).train()
    optimiser = torch.optim.AdamW(views.parameters(), lr=1e-3, weight_decay=1e-4)
    for step, rows in _batches(len(pixels), plan, plan.backbone_steps, seed):
        random = generator(seed, "views", step)
        crops = []
        for row in rows:
            sides = random.integers(HEIGHT // 2, HEIGHT, 2)
            left, top = random.integers(WIDTH - sides), random.integers(HEIGHT - sides)
            boxes = torch.tensor(
                [[int(x), int(y), int(s), int(s)] for x, y, s in zip(left, top, sides, strict=True)]
            )
            crops.append(crop_resize(pixels[row], boxes, plan.patch_size))
        loss, _ = contrast(views(normalise(torch.cat(crops))), 0.2)
        _update(optimiser, loss)
    frozen = build_backbone("resnet-tiny")
    frozen.load_state_dict(views.backbone.state_dict(), strict=False)
    frozen.freeze()
    return frozen


def new_model(backbone: Backbone, plan: Plan, seed: int) -> PatchDetector:
    """The backbone with a transformer of random weights behind it."""
    torch.manual_seed(seed)
    config = DetectorConfig(
        backbone="resnet-tiny", width=plan.width, heads=4, encoder_layers=1, decoder_layers=2,
        hidden=2 * plan.width, dropout=0.0, queries=plan.queries, patches=plan.patches,
    )  # fmt: skip
    model = PatchDetector(Detector(config))
    model.detector.backbone.load_state_dict(backbone.state_dict())
    model.detector.backbone.freeze()
    return model


def pretrain(model: PatchDetector, pixels: Tensor, plan: Plan, seed: int) -> Curve:
    """Teach a model to find patches of pictures without labels, in place; (step, loss).

    Each group of queries answers for its own patch: matching over all queries, as in the original, needs
    more steps than these before patches are found.
    """
    rounds = [_patches(pixels, plan, number, seed) for number in range(plan.rounds)]
    with torch.no_grad():
        folded = model.detector.backbone.fold()
        maps = folded(normalise(pixels))[-1]
        features = [model.patch_features(patches, backbone=folded) for patches, _ in rounds]
    loss_of = SetLoss(classes=1, group=model.detector.config.group, match="group")
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=1e-4
    )
    losses: Curve = []
    model.train()
    for step, rows in _batches(len(pixels), plan, plan.pretrain_steps, seed):
        at = step % plan.rounds
        shown, boxes = features[at][rows], rounds[at][1][rows]
        keep = keep_queries(seed, step, torch.arange(len(rows)), plan.queries)
        outputs = model(model.detector.encode_maps((maps[rows],), _whole(maps[rows])), shown, keep_BN=keep)
        targets = Targets(
            torch.zeros(boxes[..., 0].numel(), dtype=torch.int64), boxes.flatten(0, 1),
            [plan.patches] * len(rows), patch_means(shown).flatten(0, 1),
            torch.arange(plan.patches).repeat(len(rows)),
        )  # fmt: skip
        _slower(optimiser, step, plan.pretrain_steps)
        loss = loss_of(outputs, targets).total
        _update(optimiser, loss)
        if (step + 1) % 10 == 0:
            losses.append((step + 1, loss.item()))
    model.eval()
    return losses


def seen(backbone: Backbone, source: str, pixels: Tensor) -> Pictures:
    """Labelled pictures as the backbone sees them."""
    sides = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    boxes = [torch.tensor(image.boxes) / sides for image in read_labelled(source).images]
    labels = [torch.as_tensor(image.labels) for image in read_labelled(source).images]
    centred = [torch.cat([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]], 1).float() for b in boxes]
    with torch.no_grad():
        return Pictures(backbone.fold()(normalise(pixels))[-1], centred, labels)


def finetune(
    start: PatchDetector, train: Pictures, test: Pictures, truth: str, plan: Plan, seed: int,
    done: Callable[[int], object] = lambda _: None,
) -> Fit:  # fmt: skip
    """Fine-tune the detector of a model on labelled pictures; the model stays as it is.

    Args:
        start: whose transformer, queries and box head are taken.
        train: what is learnt.
        test: held-out pictures, scored every `plan.every` steps; nothing is chosen by them.
        truth: `coco:...` of the held-out pictures.
        plan: sizes and lengths.
        seed: of the class head and the order.
        done: called with the number of steps after each scoring.
    """
    detector: Detector = copy.deepcopy(start.detector)
    torch.manual_seed(seed)
    detector.class_embed = nn.Linear(plan.width, len(toy.NAMES) + 1)
    loss_of = SetLoss(classes=len(toy.NAMES))
    optimiser = torch.optim.AdamW(
        [p for p in detector.parameters() if p.requires_grad], lr=1e-3, weight_decay=1e-4
    )
    fit = Fit(detector, [], [])
    images = read_labelled(truth, mend=False).images
    for step, rows in _batches(len(train.maps), plan, plan.finetune_steps, seed):
        detector.train()
        _slower(optimiser, step, plan.finetune_steps)
        outputs = detector.decode(detector.encode_maps((train.maps[rows],), _whole(train.maps[rows])))
        _update(optimiser, loss_of(outputs, _targets(train, rows)).total)
        if (step + 1) % plan.every == 0 or step + 1 == plan.finetune_steps:
            detector.eval()
            with torch.no_grad():
                outputs = detector.decode(detector.encode_maps((test.maps,), _whole(test.maps)))
                error = loss_of(outputs, _targets(test, list(range(len(test.maps))))).logged["l1"]
            found = from_outputs(outputs, [toy.SIZE] * len(images), ids=[image.id for image in images])
            scores = coco_scores(images, found, len(toy.NAMES))  # type: ignore[arg-type]
            fit.ap50.append((step + 1, 100 * scores.values["AP50"]))
            fit.error.append((step + 1, float(error)))
            done(plan.every)
    return fit


def crops(
    models: dict[str, PatchDetector], plan: Plan, seed: int
) -> list[tuple[int, list[int], dict[str, Found]]]:
    """Look for a random crop of each held-out picture.

    Returns:
        For each picture its number, the crop's box (xyxy in pixels), and by model where it is found.
    """
    first, out = plan.pool + plan.train, []
    for number in range(first, first + plan.test):
        image = toy.picture(number, seed)[0]
        x, y, w, h = map(int, patches_of(seed, 0, number, WIDTH, HEIGHT, 1, least=0.25)[0])
        box = [x, y, x + w, y + h]
        found = {
            name: locate(
                model, image, [image.crop((x, y, x + w, y + h))], short=HEIGHT, longest=WIDTH,
                patch_size=plan.patch_size,
            )[0]
            for name, model in models.items()
        }  # fmt: skip
        out.append((number, box, found))
    return out


def located(found: list[tuple[int, list[int], dict[str, Found]]]) -> dict[str, float]:
    """Mean overlap of crops with where each model sees them, and with a constant box."""
    means = {
        name: sum(overlap(each[name].boxes[0].tolist(), box) for _, box, each in found) / len(found)
        for name in found[0][2]
    }
    return means | {"constant box": sum(overlap(CONSTANT, box) for _, box, _ in found) / len(found)}


def draw_crops(found: list[tuple[int, list[int], dict[str, Found]]], seed: int) -> "Image":
    """Crops (dashed) and where the pre-trained model sees them, with the overlap."""
    pictures = []
    for number, box, each in found[:CROPS]:
        answer = each[PRETRAINED].boxes[0].tolist()
        picture = draw(_large(number, seed), Marks([_times(box)], [""], [2]), dashed=True)
        pictures.append(draw(picture, Marks([_times(answer)], [f"{overlap(answer, box):.2f}"], [5])))
    return beside(pictures, columns=3)


def draw_detections(fits: dict[str, Fit], test: Pictures, plan: Plan, seed: int) -> "Image":
    """A row a held-out picture: its true boxes, and what each detector finds from `SCORE` on."""
    columns = []
    first = plan.pool + plan.train
    count = min(SHOWN, plan.test)
    for fit in fits.values():
        with torch.no_grad():
            maps = test.maps[:count]
            outputs = fit.detector.decode(fit.detector.encode_maps((maps,), _whole(maps)))
        columns.append(from_outputs(outputs, [toy.SIZE] * count))
    pictures = []
    for place in range(count):
        _, boxes, labels = toy.picture(first + place, seed)
        truth = Marks([_times(box) for box in boxes], [toy.NAMES[label] for label in labels], labels)
        pictures.append(draw(_large(first + place, seed), truth, dashed=True))
        for column in columns:
            sure = column[place].above(SCORE)
            rows = zip(sure.labels.tolist(), sure.scores.tolist(), strict=True)
            texts = [f"{toy.NAMES[label]} {score:.2f}" for label, score in rows]
            marks = Marks([_times(box) for box in sure.boxes.tolist()], texts, sure.labels.tolist())
            pictures.append(draw(_large(first + place, seed), marks))
    return beside(pictures, columns=1 + len(fits))


def _patches(pixels: Tensor, plan: Plan, number: int, seed: int) -> tuple[Tensor, Tensor]:
    """(n, M, 3, P, P) normalised patches of every picture, and their (n, M, 4) boxes."""
    patches, boxes = [], []
    for index, image in enumerate(pixels):
        cut = patches_of(seed, number, index, WIDTH, HEIGHT, plan.patches, least=0.25)
        patches.append(crop_resize(image, torch.as_tensor(cut), plan.patch_size))
        boxes.append(torch.as_tensor(relative_boxes(cut, WIDTH, HEIGHT)))
    return normalise(torch.stack(patches)), torch.stack(boxes)


def _targets(pictures: Pictures, rows: list[int]) -> Targets:
    boxes = [pictures.boxes[row] for row in rows]
    return Targets(
        torch.cat([pictures.labels[row] for row in rows]), torch.cat(boxes), [len(one) for one in boxes]
    )


def _batches(count: int, plan: Plan, steps: int, seed: int) -> Iterator[tuple[int, list[int]]]:
    batches = RandomBatches(count, min(plan.batch, count), seed)
    step, epoch = 0, 0
    while step < steps:
        for rows in batches.epoch(epoch)[: steps - step]:
            yield step, [int(row) for row in rows]
            step += 1
        epoch += 1


def _update(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], 1.0)
    optimiser.step()


def _slower(optimiser: torch.optim.Optimizer, step: int, steps: int) -> None:
    """A tenth of the rate after three quarters of the steps."""
    for group in optimiser.param_groups:
        group["lr"] = 1e-3 if step < 0.75 * steps else 1e-4


def _whole(maps: Tensor) -> Tensor:
    return torch.ones_like(maps[:, 0], dtype=torch.bool)


def _large(number: int, seed: int) -> "Image":
    from PIL.Image import Resampling

    return toy.picture(number, seed)[0].resize((WIDTH * LARGER, HEIGHT * LARGER), Resampling.NEAREST)


def _times(box: tuple[int, ...] | list[int] | list[float]) -> list[float]:
    return [LARGER * float(value) for value in box]
