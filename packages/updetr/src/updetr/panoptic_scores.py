"""Segments of images: predicted, written in COCO's panoptic format, drawn and scored (ours)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from nonet.data.images import find_images, fitted, normalise, open_image, to_uint8
from nonet.errors import RunFailed, UserError
from nonet.files import replacing, write_json
from nonet.metrics.panoptic import PanopticQuality, PanopticScores, Quality
from nonet.progress import progress
from nonet.training.devices import pick_device
from updetr.batches import Images
from updetr.drawing import COLOURS
from updetr.mask_head import Segmenter
from updetr.model_folders import read_source
from updetr.panoptic_files import PanopticData, entry_of, write_ids
from updetr.panoptic_merge import THRESHOLD, Merged, merge, sure_queries
from updetr.panoptic_run import load_segmenter, read_data

if TYPE_CHECKING:
    from PIL.Image import Image

    from updetr.commands.panoptic import Options


class Model(NamedTuple):
    """A segmenter and what it was trained with: things, ids of the classes, sides of images."""

    segmenter: Segmenter
    names: tuple[str, ...]
    things: tuple[bool, ...]
    category_ids: tuple[int, ...]
    sizes: tuple[int, int]


def load(name: str, options: "Options") -> Model:
    """A model folder of `panoptic train`, on the device that the options say."""
    source = read_source(name)
    segmenter = load_segmenter(name).to(pick_device(options.device))
    scale = options.val_scale or source.sizes[0]
    facts = source.facts
    return Model(
        segmenter, source.config.labels, tuple(facts["things"]), tuple(facts["category_ids"]),
        (scale, max(scale, source.sizes[1])),
    )  # fmt: skip


@torch.inference_mode()
def segment(model: Model, picture: "Image", threshold: float = THRESHOLD) -> Merged:
    """The segments of an image, at its own size.

    Args:
        model: of `load`.
        picture: RGB.
        threshold: of a query's class.
    """
    device = next(model.segmenter.parameters()).device
    pixels = normalise(to_uint8(fitted(picture, *model.sizes)).to(device))[None]
    images = Images(pixels, torch.ones_like(pixels[:, 0], dtype=torch.bool))
    memory, outputs, states = model.segmenter.detect(images)
    sure = sure_queries(outputs.logits[-1, 0], threshold)
    masks = model.segmenter.masks(memory, states[0, sure.queries], torch.zeros_like(sure.queries))
    return merge(masks, sure, model.things, picture.size)


def evaluate_panoptic(options: "Options") -> PanopticScores:
    """Score a model; prints a table, and writes predictions where the options name a folder.

    Args:
        options: of the verb `panoptic`.

    Raises:
        UserError: no such model or data.
        RunFailed: over half of the images cannot be read.
    """
    assert options.model is not None
    check_new(options.out)
    model = load(options.model, options)
    data = read_data(options).with_names(model.names)
    quality = PanopticQuality(dict(enumerate(data.things)))
    entries, unreadable = [], list[str]()
    for image in progress(data.images, label="segmenting", unit="images"):
        try:
            picture, truth = open_image(image.path, orient=False), image.segments()
        except UserError as error:
            unreadable.append(str(error))
            continue
        found = segment(model, picture, options.threshold)
        quality.add(truth, found.segments, str(image.path))
        if options.out is not None:
            entries.append(_written(options.out, image.id, image.png.stem, found, data.category_ids))
    _enough(unreadable, len(data.images))
    scores = quality.scores()
    print("\n".join([*unreadable, table(scores, data)]))
    if options.out is not None:
        write_json(options.out / "panoptic.json", {"annotations": entries})
        rows = {name: quality_row(one) for name, one in zip(("all", "things", "stuff"), scores, strict=False)}
        classes = {data.names[label]: quality_row(one) for label, one in scores.of_class.items()}
        about = {"model": options.model, "data": str(options.data), "threshold": options.threshold}
        write_json(options.out / "scores.json", about | {"scores": rows, "classes": classes})
    return scores


def predict_panoptic(options: "Options") -> int:
    """Segment images without annotations, and write panoptic.json, PNGs and pictures; how many there were.

    Args:
        options: of the verb `panoptic`.

    Raises:
        UserError: no such model or images.
        RunFailed: over half of the images cannot be read.
    """
    assert options.model is not None
    assert options.images is not None
    assert options.out is not None
    check_new(options.out)
    remarks: list[str] = []
    paths = find_images(options.images, remark=remarks.append)
    model = load(options.model, options)
    images, entries, unreadable = [], [], list[str]()
    for number, path in enumerate(progress(paths, label="segmenting", unit="images"), 1):
        try:
            picture = open_image(path, remark=remarks.append)
        except UserError as error:
            unreadable.append(str(error))
            continue
        found = segment(model, picture, options.threshold)
        name = f"{number:06}-{path.stem}"
        entries.append(_written(options.out, number, name, found, model.category_ids))
        images.append(
            {"id": number, "file_name": str(path), "width": picture.width, "height": picture.height}
        )
        if options.draw:
            drawn = draw_segments(picture, found)
            with replacing(options.out / "drawn" / f"{name}.jpg") as part:
                drawn.save(part, "JPEG", quality=90)
    _enough(unreadable, len(paths))
    rows = zip(model.category_ids, model.names, model.things, strict=True)
    categories = [{"id": number, "name": name, "isthing": int(thing)} for number, name, thing in rows]
    record = {"images": images, "annotations": entries, "categories": categories}
    write_json(options.out / "panoptic.json", record)
    print("\n".join([*remarks, *unreadable, f"{len(images):,} images: {options.out / 'panoptic.json'}"]))
    return len(images)


def draw_segments(picture: "Image", found: Merged, strength: float = 0.5) -> "Image":
    """The image with each segment in a colour of its own and a line around it.

    Args:
        picture: RGB.
        found: its segments.
        strength: of the colours, 0..1.
    """
    from PIL import Image

    pixels = np.asarray(picture, np.float32)
    ids = found.segments.ids
    palette = np.zeros((max(found.segments.categories, default=0) + 1, 3), np.float32)
    for number in found.segments.categories:
        palette[number] = COLOURS[(number - 1) % len(COLOURS)]
    mixed = np.where((ids > 0)[..., None], (1 - strength) * pixels + strength * palette[ids], pixels)
    edge = np.zeros(ids.shape, bool)
    edge[1:] |= ids[1:] != ids[:-1]
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    mixed[edge] = palette[ids[edge]]
    return Image.fromarray(mixed.astype(np.uint8))


def table(scores: PanopticScores, data: PanopticData) -> str:
    """The numbers times 100 for a terminal."""
    wide = max(12, *(len(name) for name in data.names)) + 2
    lines = [f"{'':<{wide}}{'PQ':>7}{'SQ':>7}{'RQ':>7}"]
    for name, one in _rows(scores, data):
        numbers = "".join("    n/a" if np.isnan(value) else f"{100 * value:>7.1f}" for value in one[:3])
        lines.append(f"{name:<{wide}}{numbers}")
    return "\n".join(lines)


def quality_row(one: Quality) -> dict[str, float | None]:
    """PQ, SQ and RQ times 100; None where nothing was counted."""
    values = zip(("PQ", "SQ", "RQ"), one[:3], strict=True)
    return {name: None if np.isnan(value) else round(100 * value, 4) for name, value in values}


def check_new(folder: Path | None) -> None:
    """Refuse a folder that holds something.

    Raises:
        UserError: it does.
    """
    if folder is not None and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: exists already and is not empty; name another folder")


def _rows(scores: PanopticScores, data: PanopticData) -> Iterator[tuple[str, Quality]]:
    yield from (("all", scores.all), ("things", scores.things), ("stuff", scores.stuff))
    for label, one in scores.of_class.items():
        yield data.names[label], one


def _written(folder: Path, image_id: int, name: str, found: Merged, ids: Sequence[int]) -> dict[str, Any]:
    """The image's entry in the JSON, after its PNG is written."""
    write_ids(folder / "panoptic" / f"{name}.png", found.segments.ids)
    more = {number: {"score": round(score, 4)} for number, score in found.scores.items()}
    return entry_of(image_id, f"{name}.png", found.segments, ids, more)


def _enough(unreadable: Sequence[str], count: int) -> None:
    if 2 * len(unreadable) > count:
        raise RunFailed(f"{len(unreadable)} of {count} images cannot be used; the first: {unreadable[0]}")
