"""Objects found in images without labels, and the files that say so (ours).

`detections.json` is COCO's list of results with every query's answer, `images.json` says which image an id is
and which class a category. The other formats and the pictures have the surest boxes only.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from nonet.data.batching import OrderedBatches, Pair, StepSampler, loader
from nonet.data.coco_boxes import write_coco, write_coco_results
from nonet.data.images import find_images, fitted, open_image, to_uint8
from nonet.data.labelled_boxes import BoxRows, LabelledImage, LabelledImages
from nonet.data.voc_boxes import write_voc
from nonet.data.yolo_boxes import write_yolo
from nonet.errors import RunFailed, UserError
from nonet.files import replacing, write_text
from nonet.progress import progress
from nonet.training.devices import pick_device
from updetr.detections import Detections, from_outputs
from updetr.detector import Detector
from updetr.drawing import Marks, draw
from updetr.finetune_data import collate, images_of
from updetr.loading import load_model
from updetr.model_folders import read_source
from updetr.query_patches import PatchDetector

if TYPE_CHECKING:
    from updetr.commands.predict import Options


class Found(NamedTuple):
    """What a detector sees in images.

    Attributes:
        images: those that could be read; `id` is 1 for the first file, and the boxes are empty.
        detections: of these images, in the same order.
        remarks: lines about how files were read, such as a turn by EXIF.
        unreadable: a line for each file that could not be read.
    """

    images: list[LabelledImage]
    detections: list[Detections]
    remarks: list[str]
    unreadable: list[str]


class PlainImages:
    """Images at one scale; `self[(epoch, index)]` is an item, the same in every epoch.

    Args:
        paths: image files.
        scale: shorter side, pixels.
        longest: longer side at most, pixels.
        orient: turn them as their EXIF orientation says.
    """

    def __init__(self, paths: Sequence[Path], *, scale: int, longest: int, orient: bool) -> None:
        self.paths, self.scale, self.longest, self.orient = list(paths), scale, longest, orient

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: Pair) -> dict[str, Any]:
        """`id`, `path`, `pixels` (3, h, w) uint8, `size` (width, height), `remarks`; or `unreadable`."""
        path, remarks = self.paths[item[1]], list[str]()
        try:
            picture = open_image(path, orient=self.orient, remark=remarks.append)
        except UserError as error:
            return {"unreadable": str(error)}
        pixels = to_uint8(fitted(picture, self.scale, self.longest))
        none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
        about = {"id": item[1] + 1, "path": path, "size": picture.size, "remarks": remarks}
        return none | about | {"pixels": pixels}


@torch.inference_mode()
def detect(
    detector: Detector,
    paths: Sequence[Path],
    *,
    scale: int,
    longest: int,
    batch: int = 8,
    workers: int = 0,
    device: str = "cpu",
    orient: bool = True,
    top: int | None = None,
) -> Found:
    """Look for objects in image files.

    Args:
        detector: knows classes; it is put on the device, and stays.
        paths: image files.
        scale: shorter side of an image as the detector sees it, pixels.
        longest: longer side at most, pixels.
        batch: images a batch.
        workers: processes that read images; 0: this one.
        device: where to compute.
        orient: turn images as their EXIF orientation says; boxes are in pixels of the turned image then.
        top: the most of an image, the surest; None: every query's answer.

    Raises:
        RunFailed: over half of the images cannot be read.
    """
    data = PlainImages(paths, scale=scale, longest=longest, orient=orient)
    batches = OrderedBatches(len(data), batch)
    found = Found([], [], [], [])
    detector.eval().to(device)
    read = loader(data, StepSampler(batches, steps=batches.steps(0)), list, workers=workers)
    for items in progress(read, label="predicting", unit="batches"):
        found.unreadable.extend(item["unreadable"] for item in items if "unreadable" in item)
        good = [item for item in items if "unreadable" not in item]
        if not good:
            continue
        moved = collate(good)
        moved |= {"pixels": moved["pixels"].to(device), "mask": moved["mask"].to(device)}
        outputs = detector(images_of(moved))
        found.detections.extend(
            from_outputs(outputs, moved["sizes"], ids=moved["ids"], sigmoid=detector.sigmoid, top=top)
        )
        for item in good:
            found.remarks.extend(item["remarks"])
            width, height = item["size"]
            found.images.append(BoxRows().image(item["path"], width, height, item["id"], []))
    if 2 * len(found.unreadable) > len(paths):
        raise RunFailed(
            f"{len(found.unreadable)} of {len(paths)} images cannot be read; the first: {found.unreadable[0]}"
        )
    return found


def predict(options: "Options") -> Found:
    """Find objects, and write what the options ask for.

    Args:
        options: of the verb `predict`.

    Raises:
        UserError: no such model or images, or a model that knows no classes.
        RunFailed: over half of the images cannot be read.
    """
    source = read_source(options.model)
    remarks: list[str] = []
    paths = list(
        dict.fromkeys(path for one in options.images for path in find_images(one, remark=remarks.append))
    )
    if options.out.is_dir() and any(options.out.iterdir()):
        raise UserError(f"{options.out}: exists already and is not empty; name another folder")
    detector = load_model(options.model)
    if isinstance(detector, PatchDetector):
        raise UserError(
            f"{options.model}: is pre-trained without labels and knows no class: fine-tune it, or use locate"
        )
    short, longest = source.sizes
    found = detect(
        detector, paths, scale=options.scale or short, longest=options.longest or longest,
        batch=options.batch, workers=options.workers, device=pick_device(options.device),
        orient=options.orient, top=options.top,
    )  # fmt: skip
    found.remarks[:0] = remarks
    write(found, source.config.labels, options.out, options)
    return found


def write(found: Found, names: Sequence[str], folder: Path, options: "Options") -> None:
    """Write COCO's results, and the other formats and pictures where the options ask for them."""
    ids = tuple(range(1, len(names) + 1))
    above = Path(os.path.commonpath([str(image.path.absolute().parent) for image in found.images]))
    write_coco_results(found.detections, ids, folder / "detections.json")
    known = LabelledImages(images=found.images, names=tuple(names), category_ids=ids)
    write_coco(known, folder / "images.json", folder=above)
    if found.unreadable:
        write_text(folder / "unreadable.txt", "".join(f"{line}\n" for line in found.unreadable))
    if "yolo" in options.format:
        write_text(folder / "yolo" / "classes.txt", "".join(f"{name}\n" for name in names))
    places = _places(found.images, above)
    for image, detections, place in zip(found.images, found.detections, places, strict=True):
        sure = surest(image, detections, options.score)
        if "voc" in options.format:
            write_voc(sure, tuple(names), folder / "voc" / f"{place}.xml", offset=options.voc_offset)
        if "yolo" in options.format:
            write_yolo(sure, folder / "yolo" / f"{place}.txt")
        if options.draw:
            _draw(sure, names, folder / "drawn" / f"{place}.jpg", orient=options.orient)


def surest(image: LabelledImage, found: Detections, score: float) -> LabelledImage:
    """The image with the detections of at least that score, clipped to it; those outside it are left out."""
    kept = found.above(score)
    corners = np.asarray(kept.boxes, np.float64)
    boxes = np.clip(corners, 0, [image.width, image.height] * 2)
    inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes = boxes[inside]
    count = len(boxes)
    return replace(
        image,
        boxes=boxes,
        labels=np.asarray(kept.labels)[inside],
        crowd=np.zeros(count, np.bool_),
        difficult=np.zeros(count, np.bool_),
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(1),
        scores=np.asarray(kept.scores, np.float64)[inside],
    )


def _places(images: Sequence[LabelledImage], above: Path) -> list[str]:
    """Where each image's own files go below a folder: its path below `above`, without the ending.

    An image keeps its ending where another one differs in it alone.
    """
    below = [image.path.absolute().relative_to(above) for image in images]
    counts = Counter(path.with_suffix("") for path in below)
    return [(path if counts[path.with_suffix("")] > 1 else path.with_suffix("")).as_posix() for path in below]


def _draw(image: LabelledImage, names: Sequence[str], file: Path, *, orient: bool) -> None:
    scores = image.scores if image.scores is not None else np.ones(len(image.labels))
    texts = [f"{names[label]} {score:.2f}" for label, score in zip(image.labels, scores, strict=True)]
    picture = draw(open_image(image.path, orient=orient), Marks(image.boxes, texts, image.labels.tolist()))
    with replacing(file) as part:
        picture.save(part, "JPEG", quality=90)
