"""Files of regions, in one table that many processes can read (ours).

    table = read_regions(["regions.jsonl"], folder=Path("images"))
    table.regions(0), table.open(0)

JSON lists, JSON lines, X-VLM's lines with the image in base64, and tar shards with NAME.jpg and NAME.json
beside each other. Images are read where they lie. Texts are cleaned when they are read; what is left out is
counted, with file and line.
"""

import base64
import binascii
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.data.captions import MAX_WORDS, clean_caption
from nonet.data.image_text_pairs import image_folder
from nonet.data.images import open_image
from nonet.data.packed_texts import PackedTexts
from nonet.data.text import TextReader
from nonet.data.web_shards import find_shards
from nonet.errors import UserError
from nonet.vision_language.region_records import (
    Box,
    BoxFormat,
    Defects,
    Region,
    RegionRecord,
    region_record,
)
from nonet.vision_language.region_shards import shard_records

if TYPE_CHECKING:
    from PIL.Image import Image

_TRIED = 20  # images of a file that are looked for, to find their folder

FILE, BYTES, LINE = 0, 1, 2  # an image is a file, bytes of one, or base64 in a line of one


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionTable:
    """N images with M regions together.

    Attributes:
        files: of each image; for one in a shard, the shard, for one in a line, the file of lines.
        kinds: (N,) int8: FILE, BYTES or LINE.
        spans: (N, 2) int64, first byte and bytes in the file; -1 and -1 for a file of its own.
        names: what messages call the image.
        places: file and line of each image.
        first: (N + 1,) int64; image i has regions first[i] to first[i + 1] - 1.
        boxes: of all regions, (any, 4) float64 xywh, pixels of the stored image; `first_box` (M + 1,) int64
            says whose.
        first_box: as `first`.
        texts: of all regions; `first_text` (M + 1,) int64 says whose.
        first_text: as `first`.
        attributes: of all regions; `first_attribute` (M + 1,) int64 says whose.
        first_attribute: as `first`.
        captions: of all images; `first_caption` (N + 1,) int64 says whose.
        first_caption: as `first`.
        defects: what was left out.
    """

    files: PackedTexts
    kinds: NDArray[np.int8]
    spans: NDArray[np.int64]
    names: PackedTexts
    places: PackedTexts
    first: NDArray[np.int64]
    boxes: NDArray[np.float64]
    first_box: NDArray[np.int64]
    texts: PackedTexts
    first_text: NDArray[np.int64]
    attributes: PackedTexts
    first_attribute: NDArray[np.int64]
    captions: PackedTexts
    first_caption: NDArray[np.int64]
    defects: Defects

    def __len__(self) -> int:
        return len(self.files)

    def regions(self, index: int) -> list[Region]:
        """The regions of image `index`."""
        found = []
        for row in range(int(self.first[index]), int(self.first[index + 1])):
            own = self.boxes[int(self.first_box[row]) : int(self.first_box[row + 1])]
            boxes = tuple((float(x), float(y), float(w), float(h)) for x, y, w, h in own)
            texts = self.texts[int(self.first_text[row]) : int(self.first_text[row + 1])]
            ends = slice(int(self.first_attribute[row]), int(self.first_attribute[row + 1]))
            found.append(Region(boxes, tuple(texts), tuple(self.attributes[ends])))
        return found

    def captions_of(self, index: int) -> list[str]:
        """The captions of the whole image `index`; often none."""
        return self.captions[int(self.first_caption[index]) : int(self.first_caption[index + 1])]

    def open(self, index: int) -> "Image":
        """Image `index` as RGB, as it is stored: boxes are drawn on these pixels, so EXIF is left aside.

        Raises:
            UserError: missing or damaged.
        """
        if self.kinds[index] == FILE:
            return open_image(self.files[index], orient=False)
        return open_image(self.names[index], orient=False, file=io.BytesIO(self._bytes(index)))

    def take(self, indices: ArrayLike) -> "RegionTable":
        """Some of the images with all that is theirs, in the order of `indices`."""
        chosen = np.asarray(indices, np.int64)
        regions, first = _some(self.first, chosen)
        boxes, first_box = _some(self.first_box, regions)
        texts, first_text = _some(self.first_text, regions)
        attributes, first_attribute = _some(self.first_attribute, regions)
        captions, first_caption = _some(self.first_caption, chosen)
        return replace(
            self, files=self.files.take(chosen), kinds=self.kinds[chosen], spans=self.spans[chosen],
            names=self.names.take(chosen), places=self.places.take(chosen), first=first,
            boxes=self.boxes[boxes], first_box=first_box, texts=self.texts.take(texts), first_text=first_text,
            attributes=self.attributes.take(attributes), first_attribute=first_attribute,
            captions=self.captions.take(captions), first_caption=first_caption,
        )  # fmt: skip

    def said(self) -> list[str]:
        """Lines on what is in the table and what was left out."""
        head = f"{len(self):,} images, {len(self.first_box) - 1:,} regions, {len(self.captions):,} captions"
        return [head, *self.defects.said()]

    def _bytes(self, index: int) -> bytes:
        start, size = (int(number) for number in self.spans[index])
        try:
            with open(self.files[index], "rb") as file:
                file.seek(start)
                data = file.read(size)
        except OSError as error:
            raise UserError(f"{self.names[index]}: {(error.strerror or str(error)).lower()}") from error
        if self.kinds[index] == BYTES:
            return data
        try:
            return base64.b64decode(json.loads(data)["binary"], validate=False)
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise UserError(f"{self.names[index]}: its `binary` is no base64") from error


def read_regions(
    sources: Sequence[Path | str], *, folder: Path | None = None, boxes: BoxFormat = "xywh",
    max_words: int = MAX_WORDS, clean: bool = True,
) -> RegionTable:  # fmt: skip
    """A table of the regions of several files and shards.

    Args:
        sources: JSON or JSON lines; tar shards, a folder of them, or a glob.
        folder: what the files' image paths are below; None: looked for near each file.
        boxes: how the files write them.
        max_words: of a text; 0: all.
        clean: clean texts up as `clean_caption` does; else only white space is trimmed.

    Raises:
        UserError: a file is missing or broken, its images are not found, or no region is left.
    """
    rows = _Rows(max_words if clean else 0, clean)
    for source in sources:
        shards = find_shards(source)
        for shard in shards:
            for record, (start, size) in shard_records(shard, rows.defects, boxes):
                rows.add(record, str(shard), BYTES, (start, size), record.where)
        if not shards:
            _read_file(Path(source), folder, boxes, rows)
    table = rows.table()
    if not len(table):
        why = "; ".join(table.defects.said()[:3]) or "they are empty"
        raise UserError(f"{', '.join(map(str, sources))}: no image with a region ({why})")
    return table


def _some(
    starts: NDArray[np.int64], owners: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The items of some owners, and where each owner's begin among them; owner i has starts[i] and on."""
    counts = starts[owners + 1] - starts[owners]
    ends = counts.cumsum()
    items = np.arange(int(counts.sum())) + np.repeat(starts[owners] - (ends - counts), counts)
    return items, np.concatenate([[0], ends]).astype(np.int64)


def _read_file(path: Path, folder: Path | None, boxes: BoxFormat, rows: "_Rows") -> None:
    if _has_binary(path):
        for record, span in _lines(path, boxes, rows.defects):
            rows.add(record, str(path), LINE, span, record.where)
        return
    records = []
    for found in TextReader(path, on_bad="raise"):
        records.append(region_record(found.fields, found.where, rows.defects, boxes=boxes))
        if not records[-1].image:
            raise UserError(f"{found.where}: an image in base64 stands in JSON lines, one record a line")
    base = image_folder(path, [record.image for record in records[:_TRIED]], folder)
    for record in records:
        name = str(base / record.image)
        rows.add(record, name, FILE, (-1, -1), name)


def _has_binary(path: Path) -> bool:
    """Whether the first line is a record that holds its image."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with open(path, "rb") as file:
        start = file.readline(1 << 28)
    if not start.lstrip().startswith(b"{") or b'"binary"' not in start:
        return False
    try:
        return "binary" in json.loads(start)
    except ValueError:
        return False


def _lines(path: Path, boxes: BoxFormat, defects: Defects) -> Iterator[tuple[RegionRecord, tuple[int, int]]]:
    """Records of JSON lines and where each line lies."""
    place = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            span = (place, len(line))
            place += len(line)
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                fields: Any = json.loads(line)
            except ValueError as error:
                raise UserError(f"{where}: not valid JSON ({error}); mend it") from error
            if not isinstance(fields, dict):
                raise UserError(f"{where}: a {type(fields).__name__}; it is an object with image and elems")
            yield region_record(fields, where, defects, boxes=boxes), span


class _Rows:
    """A table while it is read."""

    def __init__(self, max_words: int, clean: bool) -> None:
        self.max_words, self.clean, self.defects = max_words, clean, Defects()
        self.files: list[str] = []
        self.kinds: list[int] = []
        self.spans: list[tuple[int, int]] = []
        self.names: list[str] = []
        self.places: list[str] = []
        self.boxes: list[Box] = []
        self.first_box = [0]
        self.texts: list[str] = []
        self.attributes: list[str] = []
        self.captions: list[str] = []
        self.first, self.first_text, self.first_attribute, self.first_caption = [0], [0], [0], [0]

    def add(self, record: RegionRecord, file: str, kind: int, span: tuple[int, int], name: str) -> None:
        """Take an image, if anything of it is left."""
        captions = self._cleaned(record.captions)
        if len(captions) < len(record.captions):
            self.defects.add("captions empty after clean-up", f"{record.where}: an empty caption")
        count = len(self.first_box)
        for number, region in enumerate(record.regions):
            texts = self._cleaned(region.texts)
            if not texts:
                place = f"{record.where}: elems[{number}]"
                self.defects.add(
                    "regions whose text is empty after clean-up", f"{place}: {region.texts[0]!r}"
                )
                continue
            self.boxes += region.boxes
            self.first_box.append(len(self.boxes))
            self.texts += texts
            self.attributes += self._cleaned(region.attributes)
            self.first_text.append(len(self.texts))
            self.first_attribute.append(len(self.attributes))
        if len(self.first_box) == count and not captions:
            self.defects.add(
                "images without a usable region", f"{record.where}: no usable region and no caption"
            )
            return
        self.captions += captions
        self.first.append(len(self.first_box) - 1)
        self.first_caption.append(len(self.captions))
        self.files.append(file)
        self.kinds.append(kind)
        self.spans.append(span)
        self.names.append(name)
        self.places.append(record.where)

    def table(self) -> RegionTable:
        """What was taken."""
        return RegionTable(
            files=PackedTexts(self.files),
            kinds=np.array(self.kinds, np.int8),
            spans=np.array(self.spans, np.int64).reshape(-1, 2),
            names=PackedTexts(self.names),
            places=PackedTexts(self.places),
            first=np.array(self.first, np.int64),
            boxes=np.array(self.boxes, np.float64).reshape(-1, 4),
            first_box=np.array(self.first_box, np.int64),
            texts=PackedTexts(self.texts),
            first_text=np.array(self.first_text, np.int64),
            attributes=PackedTexts(self.attributes),
            first_attribute=np.array(self.first_attribute, np.int64),
            captions=PackedTexts(self.captions),
            first_caption=np.array(self.first_caption, np.int64),
            defects=self.defects,
        )

    def _cleaned(self, texts: Sequence[str]) -> list[str]:
        found = [clean_caption(text, self.max_words) if self.clean else text.strip() for text in texts]
        return [text for text in found if text]
