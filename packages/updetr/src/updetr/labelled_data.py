"""Labelled images as options name them, such as `coco:train.json,images` or `voc:ROOT:SPLIT` (ours).

Classes are numbered from 0, and no object is none of them, whatever a format's ids are.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from nonet.data.coco_boxes import read_coco
from nonet.data.labelled_boxes import LabelledImages, not_empty
from nonet.data.voc_boxes import read_voc
from nonet.data.yolo_boxes import read_yolo
from nonet.errors import UserError
from nonet.files import sha256

FORMS = "coco:FILE.json[,IMAGES], voc:FOLDER[:SPLIT] or yolo:data.yaml[:SPLIT]"
_LEFT_OUT = (r"; left out$", r": image .* is not below ", r" names .*, which has no XML file$")
"""how the readers end a line on a whole image that they leave out"""


def read_labelled(
    source: str,
    *,
    names: Sequence[str] | None = None,
    drop_difficult: bool = False,
    voc_offset: int | None = None,
    mend: bool = True,
    empty: bool = False,
) -> LabelledImages:
    """The labelled images that an option means.

    Args:
        source: `coco:FILE.json,IMAGES` (the folder may be left out where it lies as COCO has it),
            `voc:FOLDER:SPLIT`, `yolo:data.yaml:SPLIT` (by default train); the word before the colon may be
            left out where a file's ending or a folder says it.
        names: classes to number the labels by, as those of a model; None takes the data's.
        drop_difficult: leave out VOC's difficult boxes.
        voc_offset: the number of VOC's first pixel, 0 or 1; None decides by the folder's name.
        mend: clip boxes to images and drop repeated ones; False for evaluation by the official rules.
        empty: whether data without any box are taken.

    Raises:
        UserError: another form, a missing file, data without a box, classes that `names` lacks, and what the
            readers refuse.
    """
    kind, rest = format_of(source)
    if kind == "coco":
        file, comma, folder = rest.partition(",")
        _there(source, file)
        data = read_coco(Path(file), Path(folder) if comma else None, mend=mend)
        if drop_difficult:
            data = LabelledImages(
                images=[image.keep(~image.difficult) for image in data.images],
                names=data.names,
                category_ids=data.category_ids,
                remarks=data.remarks,
                defects=data.defects,
            )
    elif kind == "voc":
        where, split = split_of(rest)
        _there(source, where)
        data = read_voc(Path(where), split, offset=voc_offset, drop_difficult=drop_difficult, mend=mend)
    else:
        where, split = split_of(rest)
        _there(source, where)
        data = read_yolo(Path(where), split or "train", mend=mend)
    if voc_offset is not None and kind != "voc":
        raise UserError(f"voc_offset is given, but {source} is not in VOC's format")
    if not empty:
        not_empty(data, source)
    return data if names is None else data.with_names(names)


def nothing_left_out(data: LabelledImages, source: str) -> None:
    """Refuse to score a data set without whole images: numbers without their boxes are too high.

    Args:
        data: as it was read.
        source: what the user calls it.

    Raises:
        UserError: files that its labels name are not there, or cannot be read at all.
    """
    lost = [line for line in data.defects if any(re.search(pattern, line) for pattern in _LEFT_OUT)]
    if lost:
        raise UserError(
            f"{source}: {len(lost)} of {len(lost) + len(data)} images cannot be scored ({lost[0]}): without "
            "their boxes the numbers would be too high; put the files there, or take them out of the labels"
        )


def overlap(first: Sequence[Path], second: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Pairs of files of two splits with the same bytes, as a validation set that repeats training images.

    Files are compared by their SHA-256, and read only where a file of the other side has the same size.

    Args:
        first: files of one split.
        second: files of the other.
    """
    sizes = {path.stat().st_size for path in first}
    shared = [path for path in second if path.stat().st_size in sizes]
    wanted = {path.stat().st_size for path in shared}
    known = {sha256(path): path for path in first if path.stat().st_size in wanted}
    pairs = [(known.get(sha256(path)), path) for path in shared]
    return [(mine, path) for mine, path in pairs if mine is not None]


def _there(source: str, path: str) -> None:
    if not Path(path).exists():
        raise UserError(f"{source}: no file or folder {path}; data are {FORMS}")


def format_of(source: str) -> tuple[str, str]:
    """Format and the rest of an option's value."""
    kind, colon, rest = source.partition(":")
    if colon and kind.lower() in ("coco", "voc", "yolo"):
        if not rest:
            raise UserError(f"{source!r} names no file; give {FORMS}")
        return kind.lower(), rest
    file = source.partition(",")[0]
    if file.endswith(".json"):
        return "coco", source
    if file.endswith((".yaml", ".yml")) or split_of(source)[0].endswith((".yaml", ".yml")):
        return "yolo", source
    if Path(split_of(source)[0]).is_dir():
        return "voc", source
    raise UserError(f"labelled data are {FORMS}, not {source!r}")


def split_of(rest: str) -> tuple[str, str | None]:
    """A path and the split after its last colon, if there is one."""
    where, colon, split = rest.rpartition(":")
    if Path(rest).exists() or not colon or not where or "/" in split or "\\" in split:
        return rest, None
    return where, split
