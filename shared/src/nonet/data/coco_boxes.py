"""COCO's detection files: `instances_*.json`, and the list of results (Lin et al. 2014; the format's page).

Category ids need not be contiguous (COCO's own are 80 numbers in 1..90); classes are numbered by ascending
id. A box is xywh in pixels; `iscrowd` marks a region of many objects.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.data.image_index import ImageIndex
from nonet.data.labelled_boxes import BoxRows, LabelledImage, LabelledImages, listed
from nonet.errors import UserError
from nonet.files import replacing, write_text


def read_coco(file: Path, folder: Path | None = None, *, mend: bool = True) -> LabelledImages:
    """The labelled images of a COCO file.

    Args:
        file: the JSON.
        folder: of the images; None looks where COCO has them, beside the file (`instances_train2017.json`:
            `train2017`, `images/train2017`, `images`).
        mend: as in `BoxRows.image`.

    Raises:
        UserError: no such file, broken JSON, another layout, categories that are missing, doubled or unknown,
            an id that comes twice, more than half of the images missing.
    """
    value = _load(file)
    categories, names = _categories(file, value)
    label = {number: place for place, number in enumerate(categories)}
    defects: list[str] = []
    rows = _rows(file, value, label, defects)
    index = ImageIndex(folder if folder is not None else _folder(file, value))
    images: list[LabelledImage] = []
    missing: list[str] = []
    for entry in value["images"]:
        path = index.find(entry["file_name"])
        if path is None:
            missing.append(entry["file_name"])
            continue
        width, height = int(entry["width"]), int(entry["height"])
        images.append(rows[entry["id"]].image(path, width, height, entry["id"], defects, mend=mend))
    if 2 * len(missing) > len(value["images"]):
        raise UserError(
            f"{file}: {len(missing)} of {len(value['images'])} images are not below {index.folder}, "
            f"such as {missing[0]}; give the right folder after a comma"
        )
    defects += [f"{file}: image {name} is not below {index.folder}" for name in missing]
    empty = sum(not len(image.labels) for image in images)
    remarks = [f"{file}: {empty} of {len(images)} images have no box"] if empty else []
    crowds = sum(int(image.crowd.sum()) for image in images)
    if crowds:
        remarks.append(
            f"{file}: {crowds} crowd regions; training leaves them out, evaluation ignores what they cover"
        )
    return LabelledImages(
        images=images, names=names, category_ids=categories, remarks=remarks, defects=defects
    )


def write_coco(data: LabelledImages, file: Path, *, folder: Path | None = None) -> None:
    """Write labelled images as a COCO file; `difficult` is kept under that name.

    Args:
        data: the labelled images.
        file: the JSON to write.
        folder: what `file_name` is relative to; None writes the last part of each path.

    Raises:
        UserError: an image is not below `folder`, or two have one name.
    """
    names = [_file_name(image.path, folder) for image in data.images]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{twice} is the name of two images; give the folder above both")
    annotations: list[dict[str, Any]] = []
    for image in data.images:
        for row in range(len(image.labels)):
            entry = {
                "id": len(annotations) + 1,
                "image_id": image.id,
                "category_id": data.category_ids[int(image.labels[row])],
                "bbox": _xywh(image.boxes[row]),
                "area": round(float(image.areas[row]), 4),
                "iscrowd": int(image.crowd[row]),
            }
            annotations.append(entry | ({"difficult": 1} if image.difficult[row] else {}))
    pictures = [
        {"id": image.id, "file_name": name, "width": image.width, "height": image.height}
        for image, name in zip(data.images, names, strict=True)
    ]
    categories = [
        {"id": number, "name": name} for number, name in zip(data.category_ids, data.names, strict=True)
    ]
    write_text(
        file, json.dumps({"images": pictures, "annotations": annotations, "categories": categories}) + "\n"
    )


def write_coco_results(
    found: Iterable[tuple[int, ArrayLike, ArrayLike, ArrayLike]], category_ids: Sequence[int], file: Path
) -> None:
    """Write detections as COCO's list of results, an entry a line.

    Args:
        found: for each image its id, and of the n detections the (n, 4) boxes xyxy in pixels, (n,) scores in
            0..1 and (n,) labels in 0..K-1.
        category_ids: of the K classes.
        file: the JSON to write.
    """
    with replacing(file) as part, open(part, "w", encoding="utf-8", newline="\n") as out:
        before = "["
        for number, boxes, scores, labels in found:
            rows = (np.asarray(boxes, np.float64), np.asarray(scores), np.asarray(labels))
            for box, score, label in zip(*rows, strict=True):
                entry = {
                    "image_id": int(number),
                    "category_id": int(category_ids[int(label)]),
                    "bbox": _xywh(box),
                    "score": float(f"{score:.9g}"),
                }
                out.write(f"{before}\n{json.dumps(entry)}")
                before = ","
        out.write(("[" if before == "[" else "\n") + "]\n")


def _load(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no file {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{file}:{error.lineno}: not valid JSON ({error.msg})") from None
    if not isinstance(value, dict) or not isinstance(value.get("images"), list):
        raise UserError(f"{file}: not a COCO file: it has no list `images`")
    seen: set[int] = set()
    for number, entry in enumerate(value["images"]):
        where = f"{file}: image {number} (from 0)"
        if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
            raise UserError(f"{where} has no file_name")
        for name in ("id", "width", "height"):
            if not isinstance(entry.get(name), int) or (name != "id" and entry[name] < 1):
                raise UserError(f"{where}: {name} is {entry.get(name)!r}; it is a whole number")
        if entry["id"] in seen:
            raise UserError(f"{where}: its id {entry['id']} comes twice")
        seen.add(entry["id"])
    return value


def _categories(file: Path, value: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    entries = value.get("categories")
    if not entries or not all(
        isinstance(entry, dict) and isinstance(entry.get("id"), int) and isinstance(entry.get("name"), str)
        for entry in entries
    ):
        raise UserError(f"{file}: `categories` is to be a list of objects with id and name")
    found = sorted((entry["id"], entry["name"]) for entry in entries)
    ids, names = tuple(number for number, _ in found), tuple(name for _, name in found)
    for what, values in (("id", ids), ("name", names)):
        twice = [one for one in dict.fromkeys(values) if list(values).count(one) > 1]
        if twice:
            raise UserError(f"{file}: two categories have the {what} {listed(twice)}")
    return ids, names


def _rows(
    file: Path, value: Mapping[str, Any], label: Mapping[int, int], defects: list[str]
) -> dict[int, BoxRows]:
    """The boxes by the id of their image."""
    if not isinstance(value.get("annotations"), list):
        raise UserError(f"{file}: not a COCO file with labels: it has no list `annotations`")
    rows = {entry["id"]: BoxRows() for entry in value["images"]}
    file_names = {entry["id"]: entry["file_name"] for entry in value["images"]}
    unknown: dict[Any, int] = {}
    for number, entry in enumerate(value["annotations"]):
        if not isinstance(entry, dict):
            defects.append(f"{file}: annotation {number} (from 0) is no object; dropped")
            continue
        where = f"{file}: annotation {entry.get('id', number)}"
        if entry.get("image_id") not in rows:
            defects.append(f"{where}: no image has the id {entry.get('image_id')!r}; dropped")
            continue
        if entry.get("category_id") not in label:
            unknown[entry.get("category_id")] = unknown.get(entry.get("category_id"), 0) + 1
            continue
        where += f" of {file_names[entry['image_id']]}"
        box = entry.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(_number(side) for side in box):
            defects.append(f"{where}: bbox is {box!r}, not four numbers; dropped")
            continue
        left, top, width, height = box
        area = entry.get("area")
        rows[entry["image_id"]].add(
            (left, top, left + width, top + height),
            label[entry["category_id"]],
            where,
            crowd=bool(entry.get("iscrowd", 0)),
            difficult=bool(entry.get("difficult", 0)),
            area=area if _number(area) and math.isfinite(area) else None,
        )
    if unknown:
        raise UserError(
            f"{file}: {sum(unknown.values())} annotations have a category_id that `categories` lacks: "
            f"{listed(sorted(unknown, key=str))}; there are {listed(list(label))}"
        )
    return rows


def _folder(file: Path, value: Mapping[str, Any]) -> Path:
    """Where COCO has the images of an annotation file."""
    split = re.sub(r"^[a-z]+_", "", file.stem)
    first = value["images"][0]["file_name"] if value["images"] else ""
    bases = (file.parent, file.parent.parent)
    tried = [base / part for base in bases for part in (split, f"images/{split}", "images", "")]
    for folder in tried:
        if first and (folder / first).is_file():
            return folder
    raise UserError(
        f"{file}: no folder with its images near it ({first or 'it has none'}); give it after a comma"
    )


def _file_name(path: Path, folder: Path | None) -> str:
    if folder is None:
        return path.name
    try:
        return path.absolute().relative_to(folder.absolute()).as_posix()
    except ValueError:
        raise UserError(f"{path} is not below {folder}") from None


def _xywh(box: NDArray[np.float64]) -> list[float]:
    left, top, right, bottom = box.tolist()
    return [round(side, 4) for side in (left, top, right - left, bottom - top)]


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
