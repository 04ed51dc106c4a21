"""Panoptic annotations in COCO's format: a JSON file, and a PNG for each image (Kirillov et al. 2019).

The colour of a pixel of the PNG is the number of its segment, R + 256 G + 65536 B; 0 is none. The JSON says
of each segment its class, and whether it is a crowd.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.data.labelled_boxes import listed
from nonet.errors import UserError
from nonet.files import replacing, write_json
from nonet.metrics.panoptic import SegmentMap

if TYPE_CHECKING:
    from PIL.Image import Image

BASES = np.array([1, 256, 65536])


class PanopticImage(NamedTuple):
    """An image and the segments in it.

    Attributes:
        id: of the image.
        path: of the image.
        png: of the segments.
        width: pixels.
        height: pixels.
        labels: the class of each segment by its number, 0..K-1.
        crowd: numbers of the segments that are crowds.
    """

    id: int
    path: Path
    png: Path
    width: int
    height: int
    labels: dict[int, int]
    crowd: frozenset[int]

    def segments(self) -> SegmentMap:
        """The segment of each pixel.

        Raises:
            UserError: the PNG cannot be read, is of another size, or has a segment that the JSON lacks.
        """
        ids = read_ids(self.png)
        if ids.shape != (self.height, self.width):
            raise UserError(
                f"{self.png}: {ids.shape[1]} x {ids.shape[0]} pixels, and the image has {self.width} x "
                f"{self.height}"
            )
        there = set(np.unique(ids).tolist()) - {0}
        if unknown := sorted(there - self.labels.keys()):
            raise UserError(f"{self.png}: segment {unknown[0]} is not in the JSON file")
        labels = {number: label for number, label in self.labels.items() if number in there}
        return SegmentMap(ids, labels, self.crowd & there)


class PanopticData(NamedTuple):
    """A data set.

    Attributes:
        images: in the order of the file.
        names: of the K classes.
        category_ids: theirs in the file.
        things: whether each is a thing.
    """

    images: list[PanopticImage]
    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    things: tuple[bool, ...]

    def with_names(self, names: Sequence[str]) -> "PanopticData":
        """The data set with the classes of a model, by their names.

        Raises:
            UserError: the model lacks a class that occurs.
        """
        if tuple(names) == self.names:
            return self
        place = {name: number for number, name in enumerate(names)}
        used = {self.names[label] for image in self.images for label in image.labels.values()}
        if lost := sorted(used - place.keys()):
            raise UserError(f"the data has segments of {listed(lost)}, which the model does not know")
        own = {name: number for number, name in enumerate(self.names)}
        if absent := [name for name in names if name not in own]:
            raise UserError(f"the data's categories lack {listed(absent)}, classes of the model")
        images = [
            image._replace(labels={n: place[self.names[k]] for n, k in image.labels.items()})
            for image in self.images
        ]
        kept = [own[name] for name in names]
        ids, things = (tuple(part[k] for k in kept) for part in (self.category_ids, self.things))
        return PanopticData(images, tuple(names), ids, things)


def read_panoptic(file: Path, images: Path | None = None, segments: Path | None = None) -> PanopticData:
    """Read a JSON file; PNGs are read when they are used.

    Args:
        file: such as `panoptic_val2017.json`.
        images: folder of the images; None: beside the file, as the entries name them.
        segments: folder of the PNGs; None: the folder beside the file that has its name without `.json`.

    Raises:
        UserError: no such file, not such a file, an unknown class or image, or a missing file.
    """
    found = _load(file)
    try:
        categories = sorted(found["categories"], key=lambda category: int(category["id"]))
        ids = tuple(int(category["id"]) for category in categories)
        names = tuple(str(category["name"]) for category in categories)
        things = tuple(bool(category["isthing"]) for category in categories)
        sizes = {int(entry["id"]): entry for entry in found["images"]}
        annotations = found["annotations"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file}: not panoptic annotations in COCO's format: {error!r} is missing") from None
    place = {number: label for label, number in enumerate(ids)}
    folder, masks = images or file.parent, segments or file.with_suffix("")
    made = []
    for row, entry in enumerate(annotations):
        where = f"{file}: annotation {row} (from 0)"
        try:
            about = sizes[int(entry["image_id"])]
            pieces = entry["segments_info"]
            labels = {int(piece["id"]): place[int(piece["category_id"])] for piece in pieces}
            crowd = frozenset(int(piece["id"]) for piece in pieces if piece.get("iscrowd"))
            path, png = folder / about["file_name"], masks / entry["file_name"]
            size = int(about["width"]), int(about["height"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: lacks, or has an unknown, {error}") from None
        for needed in (path, png):
            if not needed.is_file():
                raise UserError(f"{where}: no file {needed}")
        made.append(PanopticImage(int(entry["image_id"]), path, png, *size, labels, crowd))
    if not made:
        raise UserError(f"{file}: has no annotation")
    return PanopticData(made, names, ids, things)


def read_ids(png: Path) -> NDArray[np.int64]:
    """(height, width) numbers of segments.

    Raises:
        UserError: it cannot be read, or has no colours.
    """
    from PIL import Image

    try:
        with Image.open(png) as opened:
            if opened.mode not in ("RGB", "RGBA", "P"):
                raise UserError(f"{png}: mode {opened.mode}; segments are colours, R + 256 G + 65536 B")
            pixels = np.asarray(opened.convert("RGB"), np.int64)
    except OSError as error:
        raise UserError(f"{png}: cannot be read: {error}") from error
    return np.asarray(pixels @ BASES)


def ids_picture(ids: NDArray[Any]) -> "Image":
    """The PNG's picture of (height, width) numbers below 2^24."""
    from PIL import Image

    return Image.fromarray((ids[..., None] // BASES % 256).astype(np.uint8))


def boxes_of(segments: SegmentMap) -> dict[int, tuple[int, int, int, int]]:
    """The box of each segment: left, top, right, bottom edges in pixels."""
    found = {}
    for number in segments.categories:
        there = segments.ids == number
        rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
        found[number] = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    return found


def entry_of(
    image_id: int, name: str, segments: SegmentMap, ids: Sequence[int], more: Mapping[int, Any]
) -> dict[str, Any]:
    """An image's entry in a JSON file.

    Args:
        image_id: of the image.
        name: of its PNG.
        segments: classes 0..K-1.
        ids: of the K classes in the file.
        more: for each segment what is said besides.
    """
    boxes = boxes_of(segments)
    pieces = []
    for number, label in segments.categories.items():
        left, top, right, bottom = boxes[number]
        pieces.append(
            {"id": number, "category_id": ids[label], "iscrowd": int(number in segments.crowd),
             "bbox": [left, top, right - left, bottom - top],
             "area": int((segments.ids == number).sum()), **more.get(number, {})}
        )  # fmt: skip
    return {"image_id": image_id, "file_name": name, "segments_info": pieces}


def write_ids(png: Path, ids: NDArray[Any]) -> None:
    """Write the PNG of an image's segments."""
    with replacing(png) as part:
        ids_picture(ids).save(part, format="PNG")


def write_boxes(data: PanopticData, file: Path) -> int:
    """Write the boxes of all segments, things and stuff, as COCO's boxes, to fine-tune a detector on.

    Returns:
        How many there are.
    """
    annotations: list[dict[str, Any]] = []
    for image in data.images:
        segments = image.segments()
        for piece in entry_of(image.id, "", segments, data.category_ids, {})["segments_info"]:
            annotations.append({**piece, "id": len(annotations) + 1, "image_id": image.id})
    images = [
        {"id": image.id, "file_name": image.path.name, "width": image.width, "height": image.height}
        for image in data.images
    ]
    write_json(file, {"images": images, "annotations": annotations, "categories": categories_of(data)})
    return len(annotations)


def categories_of(data: PanopticData) -> list[dict[str, Any]]:
    """The classes as a JSON file lists them."""
    rows = zip(data.category_ids, data.names, data.things, strict=True)
    return [{"id": number, "name": name, "isthing": int(thing)} for number, name, thing in rows]


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{file}: not JSON: {error}") from error
