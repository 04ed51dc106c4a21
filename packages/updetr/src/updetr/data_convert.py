"""Labelled images written in another format, and cut into splits (ours).

A converted data set is a folder that others read too: COCO's `annotations/instances_SPLIT.json` and `SPLIT/`,
VOC's `Annotations`, `JPEGImages`, `ImageSets/Main/SPLIT.txt` and, ours, `classes.txt`, YOLO's `data.yaml`,
`images/SPLIT` and `labels/SPLIT`. Several splits go into one folder, one after the other.
"""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from nonet.data.batching import generator
from nonet.data.coco_boxes import write_coco
from nonet.data.labelled_boxes import LabelledImages
from nonet.data.voc_boxes import CLASSES, vocs_own, write_voc
from nonet.data.yolo_boxes import label_file, write_yolo, write_yolo_yaml
from nonet.errors import UserError
from nonet.files import sha256, write_text

Format = Literal["coco", "voc", "yolo"]
Placing = Literal["link", "copy"]


def convert(
    data: LabelledImages, form: Format, folder: Path, split: str, *, placing: Placing = "link"
) -> tuple[str, list[str]]:
    """Write a data set in another format.

    Args:
        data: the labelled images.
        form: coco, voc or yolo.
        folder: to write into; other splits may be there.
        split: name of this one.
        placing: whether images are linked (the originals must stay) or copied.

    Returns:
        What to give as data from now on, and remarks.

    Raises:
        UserError: the split is there already, or two images have the same name and folder's name.
    """
    remarks: list[str] = []
    pictures = {"coco": folder / split, "voc": folder / "JPEGImages", "yolo": folder / "images" / split}[form]
    mark = {
        "coco": folder / "annotations" / f"instances_{split}.json",
        "voc": folder / "ImageSets" / "Main" / f"{split}.txt",
        "yolo": folder / "images" / split,
    }[form]
    if mark.exists():
        raise UserError(f"{mark} is there already; choose another folder or split")
    listing = folder / CLASSES
    known = listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else list(data.names)
    if form == "voc" and known != list(data.names):
        raise UserError(f"{listing} is there with other classes; choose another folder")
    names = _file_names(data, pictures, remarks)
    if form == "yolo":
        write_yolo_yaml(folder / "data.yaml", data.names, split)  # refuses other classes, before any image
    placed = _placed(data, pictures, names, placing)
    crowds = sum(int(image.crowd.sum()) for image in placed.images)
    if crowds and form != "coco":
        remarks.append(f"{crowds} crowd regions are left out: {form.upper()} files do not know them")
    if form == "coco":
        write_coco(placed, mark)
        return f"coco:{mark},{pictures}", remarks
    difficult = sum(int(image.difficult.sum()) for image in placed.images)
    if form == "yolo":
        if difficult:
            remarks.append(f"{difficult} boxes lose their mark as difficult: YOLO files do not know it")
        for image in placed.images:
            write_yolo(image, label_file(image.path))
        return f"yolo:{folder / 'data.yaml'}:{split}", remarks
    offset = int(vocs_own(folder))
    for image in placed.images:
        write_voc(image, placed.names, folder / "Annotations" / f"{image.path.stem}.xml", offset=offset)
    write_text(listing, "".join(f"{name}\n" for name in placed.names))
    write_text(mark, "".join(f"{image.path.stem}\n" for image in placed.images))
    remarks.append(
        f"the new files count pixels from {offset}; only folders of VOC's own name are read from 1"
    )
    return f"voc:{folder}:{split}", remarks


def split(data: LabelledImages, shares: Sequence[float], seed: int) -> list[LabelledImages]:
    """The images dealt at random into parts; files with the same bytes stay together.

    Args:
        data: the labelled images.
        shares: of the images in each part; their sum is 1.
        seed: of the draw, which depends on the files' bytes, not on names or order.

    Raises:
        UserError: shares that are not positive or do not add up to 1, or fewer different images than parts.
    """
    if not shares or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise UserError(
            f"shares are {', '.join(f'{s:g}' for s in shares)}; they are positive and add up to 1"
        )
    groups: dict[str, list[int]] = {}
    for place, image in enumerate(data.images):
        groups.setdefault(sha256(image.path), []).append(place)
    if len(groups) < len(shares):
        raise UserError(f"{len(groups)} different images cannot be split into {len(shares)} parts")
    keys = sorted(groups)
    order = [keys[place] for place in generator(seed, "split").permutation(len(keys)).tolist()]
    ends = [round(sum(shares[: part + 1]) * len(order)) for part in range(len(shares))]
    for part in range(len(ends)):  # none is empty
        least = ends[part - 1] + 1 if part else 1
        ends[part] = min(max(ends[part], least), len(order) - (len(ends) - 1 - part))
    starts = [0, *ends[:-1]]
    return [
        data.take(sorted(place for key in order[start:end] for place in groups[key]))
        for start, end in zip(starts, ends, strict=True)
    ]


def write_splits(parts: Sequence[LabelledImages], names: Sequence[str], folder: Path) -> list[str]:
    """Write a COCO file for each part; the images stay where they are.

    Returns:
        What to give as data for each.

    Raises:
        UserError: a file is there already.
    """
    files = [folder / f"{name}.json" for name in names]
    for file in files:
        if file.exists():
            raise UserError(f"{file} is there already; choose another folder")
    paths = [str(image.path.absolute().parent) for part in parts for image in part.images]
    above = Path(os.path.commonpath(paths))
    for part, file in zip(parts, files, strict=True):
        write_coco(part, file, folder=above)
    return [f"coco:{file},{above}" for file in files]


def _file_names(data: LabelledImages, folder: Path, remarks: list[str]) -> list[str]:
    """What the images are called in a folder, all different, even without their endings."""
    stems = Counter(image.path.stem.lower() for image in data.images)
    names = [
        image.path.name
        if stems[image.path.stem.lower()] == 1
        else f"{image.path.parent.name}_{image.path.stem}{image.path.suffix}"
        for image in data.images
    ]
    renamed = sum(name != image.path.name for name, image in zip(names, data.images, strict=True))
    if renamed:
        remarks.append(f"{renamed} images share a name with others, and get that of their folder before it")
    twice = [name for name, count in Counter(Path(name).stem.lower() for name in names).items() if count > 1]
    if twice:
        raise UserError(f"two images would be called {twice[0]}; rename one")
    there = [name for name in names if (folder / name).exists() or (folder / name).is_symlink()]
    if there:
        raise UserError(f"{folder / there[0]} is there already; choose another folder")
    return names


def _placed(data: LabelledImages, folder: Path, names: Sequence[str], placing: Placing) -> LabelledImages:
    """The data set with its images in a folder, under these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in zip(names, data.images, strict=True):
        if placing == "link":
            (folder / name).symlink_to(image.path.resolve())
        else:
            shutil.copyfile(image.path, folder / name)
    images = [
        replace(image, path=folder / name, id=number)
        for number, (name, image) in enumerate(zip(names, data.images, strict=True), 1)
    ]
    return replace(data, images=images)
