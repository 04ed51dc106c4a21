"""Scores of one-shot detection, by the protocol of CoAE (Hsieh et al. 2019, released code).

Each image is asked for each class that it has. The crops of that class are put in an order drawn with the
image's id as seed, and the first k are shown one after the other: k runs over all images, whose average
precisions are averaged. Which crops were shown is written down.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonet.data.batching import generator
from nonet.data.images import normalise, to_uint8
from nonet.data.labelled_boxes import LabelledImage, LabelledImages
from nonet.errors import UserError
from nonet.files import write_json
from nonet.metrics.detection import coco_scores, percent
from nonet.metrics.detection_voc import voc_scores
from nonet.progress import progress
from nonet.training.devices import pick_device
from updetr.batches import Images
from updetr.box_transforms import resized
from updetr.detections import Detections, from_outputs
from updetr.finetune_data import open_labelled
from updetr.labelled_data import nothing_left_out, read_labelled
from updetr.locating import locator
from updetr.model_folders import read_source
from updetr.oneshot_data import Crop, Crops, crops_of
from updetr.query_patches import PatchDetector

if TYPE_CHECKING:
    from updetr.commands.oneshot import Options

# Shapes: K classes, k crops of a class and image, N queries.


class OneShotScores(NamedTuple):
    """What a model reached; NaN for classes that do not occur.

    Attributes:
        ap50: (k, K) COCO's average precision at an overlap of one half, of each run and class, in 0..1.
        voc: (k, K) VOC's, the area below the curve.
        shown: image id -> class -> names of the k crops.
        unreadable: a line for each image that could not be read.
    """

    ap50: NDArray[np.float64]
    voc: NDArray[np.float64]
    shown: dict[int, dict[str, list[str]]]
    unreadable: list[str]


def score_oneshot(
    model: PatchDetector,
    labelled: LabelledImages,
    crops: Crops,
    *,
    scale: int,
    longest: int,
    patch_size: int = 128,
    queries: int = 5,
    device: str = "cpu",
) -> OneShotScores:
    """Ask each image for each of its classes.

    Args:
        model: one-shot, in evaluation mode.
        labelled: the images; classes without crops are not asked for.
        crops: what is shown, of the same classes.
        scale: shorter side of an image as the model sees it, pixels.
        longest: longer side at most, pixels.
        patch_size: side of a crop, pixels.
        queries: k, crops that are shown of each class and image.
        device: where to compute.
    """
    model.to(device)
    own = crops.labelled is labelled
    runs: list[list[Detections]] = [[] for _ in range(queries)]
    shown: dict[int, dict[str, list[str]]] = {}
    unreadable: list[str] = []
    for number, image in enumerate(progress(labelled.images, label="one-shot", unit="images")):
        asked = [label for label in np.unique(image.labels[~image.crowd]).tolist() if crops.of_class[label]]
        if not asked:
            continue
        chosen = {label: drawn(crops, label, image, number if own else -1, queries) for label in asked}
        try:
            found = _ask(model, image, crops, chosen, (scale, longest), patch_size, device)
        except UserError as error:
            unreadable.append(str(error))
            continue
        shown[image.id] = {
            labelled.names[label]: [crops.name(crop) for crop in some] for label, some in chosen.items()
        }
        for run, detections in zip(runs, found, strict=True):
            run.append(detections)
    classes = len(labelled.names)
    ap50 = [coco_scores(labelled.images, run, classes).class_ap50 for run in runs]  # type: ignore[arg-type]
    voc = [voc_scores(labelled.images, run, classes).area for run in runs]  # type: ignore[arg-type]
    return OneShotScores(np.stack(ap50), np.stack(voc), shown, unreadable)


def drawn(crops: Crops, label: int, image: LabelledImage, number: int, count: int) -> list[Crop]:
    """The crops of a class that an image is asked with: a shuffled few, repeated where there are fewer.

    Args:
        crops: of the data set they are taken from.
        label: the class.
        image: its id is the seed.
        number: of the image in that data set, whose own crops are left out; -1: it is not in it.
        count: how many.
    """
    choices = crops.others(label, number)
    order = generator(abs(image.id), "one-shot crops", label).permutation(len(choices))
    return [choices[order[place % len(choices)]] for place in range(count)]


@torch.inference_mode()
def _ask(
    model: PatchDetector,
    image: LabelledImage,
    crops: Crops,
    chosen: dict[int, list[Crop]],
    sizes: tuple[int, int],
    patch_size: int,
    device: str,
) -> list[Detections]:
    """For each of the k runs the detections of all classes that were asked for."""
    sample = resized(open_labelled(image), *sizes)
    pixels = normalise(to_uint8(sample.image).to(device))[None]
    memory = model.detector.encode(Images(pixels, torch.ones_like(pixels[:, 0], dtype=torch.bool)))
    stored, queries = (image.width, image.height), model.detector.config.queries
    parts: list[list[Detections]] = []  # class by class, the k runs of each
    for label, some in chosen.items():
        patches = torch.stack([crops.pixels(crop, patch_size) for crop in some]).to(device)
        features = model.patch_features(normalise(patches)[:, None])
        outputs = model(repeated(memory, len(some)), features, group=queries)
        found = from_outputs(
            outputs, [stored] * len(some), ids=[image.id] * len(some), sigmoid=model.detector.sigmoid
        )
        parts.append([each._replace(labels=torch.full_like(each.labels, label)) for each in found])
    return [_together(image.id, run) for run in zip(*parts, strict=True)]


def repeated(memory: Any, count: int) -> Any:
    """The memory of one image as that of so many, without copies."""
    fields = {
        name: value.expand(count, *value.shape[1:])
        for name, value in memory._asdict().items()
        if isinstance(value, Tensor)
    }
    return memory._replace(**fields, maps=())


def _together(image_id: int, parts: tuple[Detections, ...]) -> Detections:
    boxes, scores, labels = (torch.cat([part[field] for part in parts]) for field in (1, 2, 3))
    return Detections(image_id, boxes, scores, labels)


def evaluate_oneshot(options: "Options") -> dict[str, Any]:
    """Score a model folder; prints a table, and writes oneshot.json where the options name a folder.

    Args:
        options: of the verb `oneshot`.

    Raises:
        UserError: no such model or data, or one that was not trained for this.
    """
    assert options.model is not None
    source = read_source(options.model)
    facts = source.facts
    if facts.get("verb") != "oneshot train":
        raise UserError(f"{options.model}: not the model of `oneshot train`")
    if options.out is not None and options.out.is_dir() and any(options.out.iterdir()):
        raise UserError(f"{options.out}: exists already and is not empty; name another folder")
    model = locator(options.model)
    labelled = read_labelled(options.data, voc_offset=options.voc_offset, mend=False)
    nothing_left_out(labelled, options.data)
    pool = labelled
    if options.crops_from is not None:
        pool = read_labelled(options.crops_from, names=labelled.names, voc_offset=options.voc_offset)
    crops = crops_of(pool, options.min_crop, labelled)
    scale, longest = options.val_scale or source.sizes[0], source.sizes[1]
    scores = score_oneshot(
        model, labelled, crops, scale=scale, longest=max(scale, longest), patch_size=options.patch_size,
        queries=options.queries_per_image, device=pick_device(options.device),
    )  # fmt: skip
    record = summary(scores, labelled.names, facts["seen"], facts["unseen"])
    for line in [*labelled.said(), *scores.unreadable]:
        print(line)
    print(table(record))
    if options.out is not None:
        about = {"model": options.model, "data": options.data, "crops_from": options.crops_from}
        write_json(options.out / "oneshot.json", about | record | {"shown": scores.shown})
    return record


def summary(
    scores: OneShotScores, names: tuple[str, ...], seen: list[str], unseen: list[str]
) -> dict[str, Any]:
    """The numbers times 100: means over the runs, for each class and over the seen and the unseen ones."""
    rows = []
    for number, name in enumerate(names):
        side = "seen" if name in seen else "unseen" if name in unseen else "other"
        rows.append({"class": name, "side": side, "AP50": _mean(scores.ap50[:, number]),
                     "VOC": _mean(scores.voc[:, number])})  # fmt: skip
    means = {
        side: {measure: _mean(np.array([row[measure] for row in rows if row["side"] == side], float) / 100)
               for measure in ("AP50", "VOC")}
        for side in ("seen", "unseen")
    }  # fmt: skip
    each = [
        {side: _mean(run[[i for i, row in enumerate(rows) if row["side"] == side]]) for side in means}
        for run in scores.ap50
    ]
    return {"means": means, "classes": rows, "runs_AP50": each}


def table(record: dict[str, Any]) -> str:
    """The numbers for a terminal; n/a for classes that do not occur."""

    def shown(value: float | None) -> str:
        return percent(float("nan") if value is None else value / 100)

    rows = [{"class": f"all {side}", "side": side} | record["means"][side] for side in ("seen", "unseen")]
    rows += record["classes"]
    wide = max(len(row["class"]) for row in rows) + 2
    lines = [f"{'class':<{wide}}{'side':<8}{'AP50':>7}{'VOC':>7}"]
    for row in rows:
        lines.append(f"{row['class']:<{wide}}{row['side']:<8}{shown(row['AP50']):>7}{shown(row['VOC']):>7}")
    return "\n".join(lines)


def _mean(values: NDArray[np.float64]) -> float | None:
    """The mean times 100 of those that are numbers; None where there are none."""
    there = values[~np.isnan(values)]
    return round(100 * float(there.mean()), 4) if there.size else None
