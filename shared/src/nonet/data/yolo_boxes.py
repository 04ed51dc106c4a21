"""YOLO's text files: a line a box, `class cx cy w h` in shares of the image's sides (Redmon's Darknet).

`data.yaml` names the splits and the classes, as Ultralytics has it. The labels of `.../images/SPLIT/a.jpg`
are in `.../labels/SPLIT/a.txt`; links to folders are not resolved. A line with more points is a polygon,
whose box is taken; an image without a file has no box.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from nonet.data.image_index import ImageIndex
from nonet.data.images import image_size
from nonet.data.labelled_boxes import BoxRows, LabelledImage, LabelledImages, listed
from nonet.errors import UserError
from nonet.files import write_text

PIXELS = 2.0  # a number above is no share of a side that goes beyond the image, but counts pixels
SPLITS = ("train", "val", "test")


class YoloSplit(NamedTuple):
    """What a data.yaml says of a split: image files, class names, remarks."""

    images: list[Path]
    names: tuple[str, ...]
    remarks: list[str]


def read_yolo(file: Path, split: str = "train", *, mend: bool = True) -> LabelledImages:
    """The labelled images of a split.

    Args:
        file: the data.yaml.
        split: train, val or test.
        mend: as in `BoxRows.image`.

    Raises:
        UserError: no such file or split, no names, class ids that the names do not have (perhaps counted
            from 1), numbers beyond 0..1, more than half of the images unreadable.
    """
    found = read_yolo_yaml(file, split)
    defects: list[str] = []
    images: list[LabelledImage] = []
    foreign: dict[int, str] = {}  # class ids that are not there, with the first line of each
    highest, lowest, unlabelled = -1, 1 << 30, 0
    labels = [label_file(path) for path in found.images]
    for path, text in zip(found.images, labels, strict=True):
        try:
            width, height = image_size(path)
        except UserError as error:
            defects.append(f"{error}; left out")
            continue
        rows = BoxRows()
        unlabelled += not text.is_file()
        for number, line in _lines(text):
            where = f"{text}:{number}"
            parsed = _parse(line, where, defects)
            if parsed is None:
                continue
            label, box = parsed
            highest, lowest = max(highest, label), min(lowest, label)
            if not 0 <= label < len(found.names):
                foreign.setdefault(label, where)
                continue
            sides = np.array([width, height, width, height])
            rows.add((box * sides).tolist(), label, where)
        images.append(rows.image(path, width, height, len(images) + 1, defects, mend=mend))
    if foreign:
        raise UserError(_foreign(file, foreign, len(found.names), lowest, highest))
    if 2 * len(images) < len(found.images):
        left = len(found.images) - len(images)
        raise UserError(f"{file}: {left} of {len(found.images)} images are unusable, the first: {defects[0]}")
    defects += _orphans(labels)
    remarks = list(found.remarks)
    if unlabelled:
        remarks.append(f"{file}: {unlabelled} of {len(found.images)} images have no label file: no box there")
    return LabelledImages(
        images=images,
        names=found.names,
        category_ids=tuple(range(len(found.names))),
        remarks=remarks,
        defects=defects,
    )


def read_yolo_yaml(file: Path, split: str) -> YoloSplit:
    """The image files of a split and the class names.

    Raises:
        UserError: no such file or split, or no names.
    """
    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no file {file}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file}: cannot be read ({' '.join(str(error).split())})") from None
    if not isinstance(value, dict):
        raise UserError(f"{file}: not a data.yaml: it has no keys")
    remarks: list[str] = []
    names = _names(file, value, remarks)
    wanted = value.get(split) or (value.get("valid") if split == "val" else None)
    if not wanted:
        there = [name for name in (*SPLITS, "valid") if value.get(name)]
        raise UserError(f"{file}: no split {split}; there are {listed(there) or 'none'}")
    base = file.parent / str(value.get("path") or "")
    if not base.is_dir():
        remarks.append(f"{file}: its path {value['path']} is no folder here; its own folder is taken")
        base = file.parent
    images: list[Path] = []
    for source in wanted if isinstance(wanted, list) else [wanted]:
        images += _sources(file, base, str(source))
    if not images:
        raise UserError(f"{file}: no image in {listed(wanted if isinstance(wanted, list) else [wanted])}")
    return YoloSplit(images, names, remarks)


def label_file(image: Path) -> Path:
    """Where the labels of an image are: `labels` for the last `images` in its path, and `.txt`."""
    parts = list(image.parts)
    places = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def write_yolo(image: LabelledImage, file: Path) -> None:
    """Write the label file of one image; a sixth column has the scores of predicted boxes.

    Crowd regions, which YOLO does not know, are left out.
    """
    left, top, right, bottom = (image.boxes / [image.width, image.height, image.width, image.height]).T
    columns = np.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], 1)
    lines = []
    for row in np.flatnonzero(~image.crowd):
        numbers = [f"{number:.8g}" for number in columns[row]]
        score = [] if image.scores is None else [f"{image.scores[row]:.6f}"]
        lines.append(" ".join([str(int(image.labels[row])), *numbers, *score]))
    write_text(file, "".join(f"{line}\n" for line in lines))


def write_yolo_yaml(file: Path, names: tuple[str, ...], split: str) -> None:
    """Write or extend a data.yaml: the split is `images/SPLIT` beside it.

    Raises:
        UserError: the file is there with other names.
    """
    value: dict[str, Any] = {"path": "."}
    if file.is_file():
        remarks: list[str] = []
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(value, dict) or _names(file, value, remarks) != names:
            raise UserError(f"{file} is there with other classes; choose another folder")
    value[split] = f"images/{split}"
    value["names"] = dict(enumerate(names))
    write_text(file, yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def _names(file: Path, value: Mapping[str, Any], remarks: list[str]) -> tuple[str, ...]:
    names, count = value.get("names"), value.get("nc")
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise UserError(f"{file}: the ids of its names are {listed(sorted(names))}; they run from 0")
        names = [names[number] for number in range(len(names))]
    if isinstance(names, list) and names:
        if count not in (None, len(names)):
            raise UserError(f"{file}: nc is {count}, but there are {len(names)} names")
        return tuple(str(name) for name in names)
    if isinstance(count, int) and count > 0:
        remarks.append(f"{file}: no names; classes are called class0, class1, ...")
        return tuple(f"class{number}" for number in range(count))
    raise UserError(f"{file}: it has neither names nor nc; name the classes: `names: [cat, dog]`")


def _sources(file: Path, base: Path, source: str) -> list[Path]:
    """The image files of a folder or of a list of files."""
    path = next((at / source for at in (base, file.parent) if (at / source).exists()), None)
    if path is None and source.startswith("../"):  # exports of Roboflow name the folder above
        path = next((at for at in (base / source[3:],) if at.exists()), None)
    if path is None:
        raise UserError(f"{file}: no folder or list {base / source}")
    if path.is_dir():
        return ImageIndex(path).paths()
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [path.parent / line if line.startswith("./") else base / line for line in lines]


def _lines(file: Path) -> list[tuple[int, str]]:
    if not file.is_file():
        return []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _parse(line: str, where: str, defects: list[str]) -> tuple[int, Any] | None:
    """Class and (4,) xyxy in shares of a line, or None where it is neither box nor polygon."""
    words = line.split()
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError:
        defects.append(f"{where}: {line[:60]!r} is not a row of numbers; dropped")
        return None
    if numbers[0] != np.floor(numbers[0]) or not np.isfinite(numbers[0]):
        raise UserError(f"{where}: the class is {words[0]}; it is a whole number, and comes first")
    if len(words) == 5:
        cx, cy, w, h = numbers[1:]
        box = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
    elif len(words) >= 7 and len(words) % 2:
        points = numbers[1:].reshape(-1, 2)
        box = np.concatenate([points.min(0), points.max(0)])
    else:
        hint = " (six are predictions with a score)" if len(words) == 6 else ""
        defects.append(f"{where}: {len(words)} numbers are neither a box nor a polygon{hint}; dropped")
        return None
    if numbers[1:].max() > PIXELS:
        raise UserError(f"{where}: {numbers[1:].max():g} is beyond 1; YOLO's numbers are shares of the image")
    return int(numbers[0]), box


def _foreign(file: Path, foreign: dict[int, str], count: int, lowest: int, highest: int) -> str:
    ids = sorted(foreign)
    hint = ""
    if lowest >= 1 and highest == count:
        hint = "; no box has class 0: are they counted from 1? Subtract 1 from each"
    return (
        f"{foreign[ids[0]]}: class {listed(ids)}, but {file.name} has {count} names, "
        f"0 to {count - 1}{hint or '; add the names, or mend the labels'}"
    )


def _orphans(labels: list[Path]) -> list[str]:
    """Label files beside the used ones that have no image."""
    known = {os.fspath(text) for text in labels}
    there = sorted({text for folder in {text.parent for text in labels} for text in folder.glob("*.txt")})
    lists = ("classes.txt", "train.txt", "val.txt", "test.txt")
    return [
        f"{text}: no image with its name"
        for text in there
        if os.fspath(text) not in known and text.name not in lists
    ]
