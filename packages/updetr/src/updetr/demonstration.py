"""The parts of `updetr demo`: a backbone and a transformer without labels, then two detectors (ours).

Both detectors have the same frozen backbone and see the same few labelled pictures in the same order; one
transformer begins with random weights, the other has learnt to find the patches of unlabelled pictures.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from updetr import toy

if TYPE_CHECKING:
    from PIL.Image import Image

    from updetr.query_patches import PatchDetector
    from updetr.train_options import SizeOptions

SCRATCH, PRETRAINED = "from scratch", "pre-trained"
"""names of the two detectors"""
UNTRAINED, CONSTANT = "random transformer", "constant box"
LOCATED, DETECTED = "located.png", "detected.png"
"""pictures in the demo's folder"""
CROPS = 9  # on the page
SHOWN = 6  # pictures with detections on the page
LARGER = 3  # times a picture's size on the page
SCORE = 0.5  # of the boxes that are drawn

Start = Callable[[Mapping[str, Any]], Any]
"""runs a verb; takes its options by name"""


class Plan(NamedTuple):
    """How large and long everything is."""

    pool: int = 320
    """pictures without labels"""
    train: int = 48
    """pictures with labels"""
    test: int = 64
    """held-out pictures"""
    backbone_steps: int = 40
    pretrain_steps: int = 500
    finetune_steps: int = 150
    validations: int = 3
    """of each fine-tuning on the held-out pictures; none chooses anything"""
    width: int = 64
    queries: int = 12
    patches: int = 4
    patch_size: int = 32
    batch: int = 16


class Made(NamedTuple):
    """The folders of the runs."""

    backbone: Path
    """file with the weights that all share"""
    pretrained: Path
    """model that finds patches"""
    detectors: dict[str, Path]
    """runs of fine-tuning by name"""


class Crop(NamedTuple):
    """A crop of a held-out picture, and where two models see it.

    Attributes:
        image: the picture.
        true: xyxy in pixels.
        found: by the model's name the box of its surest query, and its overlap with the true one.
    """

    image: "Image"
    true: tuple[int, int, int, int]
    found: dict[str, tuple[list[float], float]]


class Told(NamedTuple):
    """What was measured.

    Attributes:
        ap50: of both detectors after their last step, times 100, by name.
        ap50_curves: (step, AP50) by name.
        l1_curves: (step, L1 distance of matched boxes, summed over four numbers) by name.
        located: mean overlap of crops with the boxes of each model, and with a constant box.
        pretext: (step, overlap) in pre-training, and that of a constant box.
    """

    ap50: dict[str, float]
    ap50_curves: dict[str, list[tuple[float, float]]]
    l1_curves: dict[str, list[tuple[float, float]]]
    located: dict[str, float]
    pretext: dict[str, list[tuple[float, float]]]


def make(
    plan: Plan, folder: Path, *, backbone: Start, pretrain: Start, finetune: Start, seed: int,
    done: Callable[[], Any] = lambda: None,
) -> Made:  # fmt: skip
    """Draw pictures and train everything in a folder that is not there yet.

    Args:
        plan: sizes and lengths.
        folder: where.
        backbone: trains a backbone; as the verb.
        pretrain: pre-trains a detector; as the verb.
        finetune: fine-tunes one; as the verb.
        seed: of pictures, weights and training.
        done: called after each of four parts.
    """
    from updetr.train_options import RateOptions

    pool, train = folder / "data" / "pool", folder / "data" / "train"
    toy.write_pictures(pool, plan.pool, seed=seed)
    labelled = toy.write_pictures(train, plan.train, first=plan.pool, seed=seed)
    test = toy.write_pictures(folder / "data" / "test", plan.test, first=plan.pool + plan.train, seed=seed)
    width, height = toy.SIZE
    sizes = {"scales": (height,), "longest": width}
    weights = folder / "backbone" / "model" / "backbone.safetensors"
    new = {"backbone": "resnet-tiny", "backbone_weights": weights, "size": _sizes(plan)}
    detectors = {SCRATCH: folder / "scratch", PRETRAINED: folder / "fine-tuned"}
    with _quiet():
        backbone(
            {
                "images": pool, "backbone": "resnet-tiny", "size": 32, "batch": 32, "val_size": 0,
                "out": folder / "backbone", "trainer": _trainer(plan.backbone_steps, seed),
            }
        )  # fmt: skip
        done()
        start = {
            "images": pool, "num_patches": plan.patches, "patch_size": plan.patch_size, "min_patch": 0.2,
            "batch": plan.batch, "rates": RateOptions(lr=1e-3, drop=0.75, warmup=10), "val_size": 32,
        }  # fmt: skip
        cache = {"cache_features": folder / "features"}
        steps = _trainer(plan.pretrain_steps, seed, every=max(1, plan.pretrain_steps // 5))
        pretrain(new | sizes | start | cache | {"out": folder / "pre-trained", "trainer": steps})
        done()
        for name, out in detectors.items():
            begun = new if name == SCRATCH else {"init": str(folder / "pre-trained" / "model")}
            every = max(1, plan.finetune_steps // plan.validations)
            finetune(
                begun | sizes
                | {
                    "data": labelled, "val": test, "crop": 0.0, "flip_vertical": 0.5, "batch": plan.batch,
                    "epochs": 0.0, "rates": RateOptions(lr=5e-4, drop=0.8), "out": out,
                    "trainer": _trainer(plan.finetune_steps, seed, every=every),
                }
            )  # fmt: skip
            done()
    return Made(weights, folder / "pre-trained" / "model", detectors)


def untrained(made: Made, plan: Plan, *, seed: int) -> "PatchDetector":
    """The model as it was before pre-training: the backbone, and a transformer of random weights."""
    import torch

    from updetr.backbone_weights import load_backbone_weights
    from updetr.detector_config import DetectorConfig
    from updetr.loading import new_detector
    from updetr.query_patches import PatchDetector

    torch.manual_seed(seed)
    config = DetectorConfig(backbone="resnet-tiny", patches=plan.patches, **dataclasses.asdict(_sizes(plan)))
    model = PatchDetector(new_detector(config))
    load_backbone_weights(model.detector.backbone, made.backbone, lambda _: None)
    return model.eval()


def curve(run: Path, measure: str) -> list[tuple[float, float]]:
    """(step, value) of what a run logged."""
    from nonet.runs import read_metrics

    return [(float(line["step"]), float(line[measure])) for line in read_metrics(run) if measure in line]


def measure(made: Made, found: list[Crop]) -> Told:
    """The numbers of the page.

    Args:
        made: the runs.
        found: the crops that were looked for.
    """
    from updetr.locating import overlap

    width, height = toy.SIZE
    middle = (0.1 * width, 0.1 * height, 0.9 * width, 0.9 * height)
    located = {name: [crop.found[name][1] for crop in found] for name in (UNTRAINED, PRETRAINED)}
    located[CONSTANT] = [overlap(middle, crop.true) for crop in found]
    ap50 = {name: curve(run, "val/AP50") for name, run in made.detectors.items()}
    run = made.pretrained.parent
    return Told(
        {name: points[-1][1] for name, points in ap50.items()},
        ap50,
        {name: curve(run, "val/l1") for name, run in made.detectors.items()},
        {name: sum(values) / len(values) for name, values in located.items()},
        {"surest query": curve(run, "val/found_iou"), CONSTANT: curve(run, "val/floor")},
    )


def crops(made: Made, plan: Plan, *, seed: int) -> list[Crop]:
    """Look for every shape of the held-out pictures with both models.

    Args:
        made: the models.
        plan: says which pictures are held out.
        seed: of the pictures.
    """
    from updetr.locating import locate, locator, overlap

    models = {UNTRAINED: untrained(made, plan, seed=seed), PRETRAINED: locator(made.pretrained)}
    first = plan.pool + plan.train
    found: list[Crop] = []
    for number in range(first, first + plan.test):
        image, boxes, _ = toy.picture(number, seed)
        places = {
            name: locate(
                model, image, [image.crop(box) for box in boxes], short=min(toy.SIZE), longest=max(toy.SIZE),
                patch_size=plan.patch_size,
            )
            for name, model in models.items()
        }  # fmt: skip
        for place, box in enumerate(boxes):
            best = {name: each[place].boxes[0].tolist() for name, each in places.items()}
            found.append(Crop(image, box, {name: (one, overlap(one, box)) for name, one in best.items()}))
    return found


def draw_crops(shown: list[Crop], file: Path) -> None:
    """Draw crops (dashed) and where the pre-trained model sees them, with the overlap; write a PNG file."""
    from nonet.files import replacing
    from updetr.drawing import Marks, beside, draw

    pictures = []
    for crop in shown:
        box, overlap = crop.found[PRETRAINED]
        picture = draw(_large(crop.image), Marks([_times(crop.true)], [""], [2]), dashed=True)
        pictures.append(draw(picture, Marks([_times(box)], [f"{overlap:.2f}"], [5])))
    with replacing(file) as part:
        beside(pictures, columns=3).save(part, format="PNG")


def draw_detections(made: Made, plan: Plan, file: Path, *, seed: int) -> None:
    """Draw the true boxes (left), and what the two detectors find from `SCORE` on; write a PNG file."""
    from nonet.files import replacing
    from updetr.detector import Detector
    from updetr.drawing import Marks, beside, draw
    from updetr.loading import load_model
    from updetr.predicting import detect

    first = plan.pool + plan.train
    numbers = range(first, first + min(SHOWN, plan.test))
    folder = file.parent / "data" / "test"
    found = []
    for run in made.detectors.values():
        model = load_model(run / "model")
        assert isinstance(model, Detector)
        paths = [folder / f"{number:05}.png" for number in numbers]
        found.append(detect(model, paths, scale=min(toy.SIZE), longest=max(toy.SIZE)).detections)
    pictures = []
    for place, number in enumerate(numbers):
        image, boxes, labels = toy.picture(number, seed)
        truth = Marks([_times(box) for box in boxes], [toy.NAMES[label] for label in labels], labels)
        pictures.append(draw(_large(image), truth, dashed=True))
        for each in found:
            sure = each[place].above(SCORE)
            rows = zip(sure.labels.tolist(), sure.scores.tolist(), strict=True)
            texts = [f"{toy.NAMES[label]} {score:.2f}" for label, score in rows]
            marks = Marks([_times(box) for box in sure.boxes.tolist()], texts, sure.labels.tolist())
            pictures.append(draw(_large(image), marks))
    with replacing(file) as part:
        beside(pictures, columns=1 + len(found)).save(part, format="PNG")


def _large(image: "Image") -> "Image":
    from PIL.Image import Resampling

    return image.resize((image.width * LARGER, image.height * LARGER), Resampling.NEAREST)


def _times(box: Any) -> list[float]:
    return [LARGER * float(value) for value in box]


def _sizes(plan: Plan) -> "SizeOptions":
    from updetr.train_options import SizeOptions

    return SizeOptions(
        width=plan.width, heads=4, encoder_layers=1, decoder_layers=2, hidden=2 * plan.width,
        queries=plan.queries,
    )  # fmt: skip


def _trainer(steps: int, seed: int, *, every: int = 0) -> Any:
    from nonet.training.options import TrainerOptions

    return TrainerOptions(
        steps=steps, seed=seed, accelerator="cpu", clip=1.0, validate_every=every, checkpoint_every=0,
        log_every=20,
    )  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What runs say goes to their logs only."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: SIM117
        with contextlib.redirect_stderr(nowhere):
            yield
