"""Regions of any known source, checked against their images and written as one file of JSON lines (ours).

A source is a file or shards in a layout of `region_files`, or one of these, whose images are below a folder:

coco:instances_train2017.json[,captions_train2017.json]
genome:FOLDER      with region_descriptions.json, attributes.json or objects.json
entities:FOLDER    with Sentences and Annotations, of Flickr30k Entities
refcoco:refs(unc).p[,instances.json]
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nonet.data.captions import MAX_WORDS
from nonet.data.image_text_pairs import PairTable, image_folder
from nonet.errors import UserError
from nonet.vision_language.region_files import FILE, RegionTable, read_regions
from nonet.vision_language.region_records import BoxFormat, Defects, RegionRecord, write_region_records
from nonet.vision_language.region_sources import (
    coco_regions,
    entities_regions,
    genome_regions,
    referring_regions,
)

KINDS = ("coco", "genome", "entities", "refcoco")

_TRIED = 20  # images of a source that are looked for, to find their folder
_GENOME = {
    "descriptions": "region_descriptions.json",
    "objects": "objects.json",
    "attributes": "attributes.json",
}


def region_tables(
    sources: Sequence[str], *, folder: Path | None = None, boxes: BoxFormat = "xywh",
    split: str | None = None, max_words: int = MAX_WORDS,
) -> list[RegionTable]:  # fmt: skip
    """The regions of each source.

    Args:
        sources: as above.
        folder: of the images; None: looked for near each file.
        boxes: how files of `region_files` write them.
        split: of RefCOCO; None: all.
        max_words: of a text; 0: all.

    Raises:
        UserError: a source is missing or broken, its images are not found, or it has no region.
    """
    found = []
    for source in sources:
        kind, colon, rest = source.partition(":")
        if not colon or kind not in KINDS:
            found.append(read_regions([source], folder=folder, boxes=boxes, max_words=max_words))
            continue
        path, _, second = rest.partition(",")
        second_path = Path(second) if second else None
        found.append(
            converted_regions(kind, Path(path), second_path, folder=folder, split=split, max_words=max_words)
        )
    return found


def converted_regions(
    kind: str, path: Path, second: Path | None = None, *, folder: Path | None = None,
    split: str | None = None, max_words: int = MAX_WORDS,
) -> RegionTable:  # fmt: skip
    """The regions of the annotations of a data set.

    Args:
        kind: one of `KINDS`.
        path: its file or folder, as at the top of this file.
        second: the captions of COCO, the instances of RefCOCO.
        folder: of the images; None: looked for near the file.
        split: of RefCOCO; None: all.
        max_words: of a text; 0: all.

    Raises:
        UserError: it is missing or broken, its images are not found, or it has no region.
    """
    images, (records, defects) = _converted(kind, path, second, split)
    return _as_table(records, defects, path, images if folder is None else folder, max_words)


def write_regions(tables: Sequence[RegionTable], path: Path) -> int:
    """Write the regions of images that are files, with absolute paths.

    Returns:
        How many images were written.

    Raises:
        UserError: an image lies in a shard or in a line of its file: such a source is used as it is.
    """
    for table in tables:
        inside = np.flatnonzero(table.kinds != FILE)
        if len(inside):
            raise UserError(f"{table.names[int(inside[0])]}: holds its image; train on that source as it is")
    return write_region_records((record for table in tables for record in _records(table)), path)


def refuse_shared_files(tables: Sequence[RegionTable], pairs: PairTable, what: str) -> None:
    """Check that no image of the regions is one of the pairs', by file.

    Args:
        tables: regions to learn from.
        pairs: what is measured on.
        what: its name, such as `validation`.

    Raises:
        UserError: there are such images.
    """
    measured = {
        os.path.realpath(path) for item in range(len(pairs)) if (path := pairs.path(item)) is not None
    }
    shared = [
        table.names[item]
        for table in tables
        for item in range(len(table))
        if table.kinds[item] == FILE and os.path.realpath(table.files[item]) in measured
    ]
    if shared:
        raise UserError(
            f"{len(shared):,} images of the regions are in the {what} data too, such as {shared[0]}: take "
            "them out of one of the two"
        )


def _converted(
    kind: str, path: Path, second: Path | None, split: str | None
) -> tuple[Path | None, tuple[list[RegionRecord], Defects]]:
    """Where the images are (None: near the file) and the records of a source."""
    if kind == "coco":
        return None, coco_regions(path, second)
    if kind == "refcoco":
        return None, referring_regions(path, second, split=split)
    if not path.is_dir():
        raise UserError(f"{path}: no such folder")
    if kind == "entities":
        return None, entities_regions(path)
    files = {name: path / file for name, file in _GENOME.items() if (path / file).is_file()}
    if not files:
        raise UserError(f"{path}: none of {', '.join(_GENOME.values())} is in it")
    return path, genome_regions(path, **files)


def _as_table(
    records: list[RegionRecord], defects: Defects, source: Path, folder: Path | None, max_words: int
) -> RegionTable:
    """Records as a table; they go through a file, as every other source does."""
    if not records:
        why = "; ".join(defects.said()[:2]) or "it is empty"
        raise UserError(f"{source}: no image with a region ({why})")
    if folder is None:
        folder = image_folder(source, [record.image for record in records[:_TRIED]])
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "regions.jsonl"
        write_region_records(records, file)
        table = read_regions([file], folder=folder, max_words=max_words)
    for kind, count in defects.counts.items():
        table.defects.counts[kind] += count
    table.defects.lines[:0] = defects.lines
    return table


def _records(table: RegionTable) -> Iterator[RegionRecord]:
    for item in range(len(table)):
        image = os.path.abspath(table.files[item])
        captions = tuple(table.captions_of(item))
        yield RegionRecord(image, tuple(table.regions(item)), captions, table.places[item])
