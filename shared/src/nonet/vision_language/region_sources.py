"""Regions from the annotations that people have: COCO, Visual Genome, Flickr30k Entities, RefCOCO.

Each function gives records, which `write_region_records` writes, and what was left out. Layouts are those of
the data sets' own files (Lin et al. 2014; Krishna et al. 2017; Plummer et al. 2015; Yu et al. 2016).
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nonet.data.image_index import ImageIndex
from nonet.errors import UserError
from nonet.vision_language.plain_pickle import load_plain
from nonet.vision_language.region_records import Box, Defects, Region, RegionRecord, box_fault

Found = tuple[list[RegionRecord], Defects]

_PHRASE = re.compile(r"\[/EN#(\d+)(?:/[^\s\]]*)?\s+([^\]]*)\]")


def coco_regions(instances: Path, captions: Path | None = None) -> Found:
    """COCO's objects, called by their category; crowd regions are left out.

    Args:
        instances: `instances_*.json`.
        captions: `captions_*.json` of the same images, which become captions of the whole image.

    Returns:
        Records in the order of the images, without those that have neither objects nor captions; defects.

    Raises:
        UserError: a file is missing, broken or of another layout.
    """
    content, defects = _object(instances, "images", "annotations", "categories"), Defects()
    names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
    texts: dict[Any, list[str]] = {}
    if captions is not None:
        for entry in _object(captions, "annotations")["annotations"]:
            texts.setdefault(entry.get("image_id"), []).append(str(entry.get("caption", "")))
    regions: dict[Any, list[Region]] = {}
    for number, entry in enumerate(content["annotations"]):
        where = f"{instances}: annotation {entry.get('id', number)}"
        if entry.get("iscrowd"):
            defects.add("crowd regions", f"{where} is a crowd region")
        elif entry.get("category_id") not in names:
            defects.add("unknown categories", f"{where}: category_id {entry.get('category_id')!r} is unknown")
        elif box := _box(entry.get("bbox"), where, defects):
            region = Region((box,), (names[entry["category_id"]],))
            regions.setdefault(entry.get("image_id"), []).append(region)
    found = []
    for number, image in enumerate(content["images"]):
        own, said = tuple(regions.get(image.get("id"), ())), tuple(texts.get(image.get("id"), ()))
        if own or said:
            found.append(RegionRecord(str(image["file_name"]), own, said, f"{instances}: images[{number}]"))
    return found, defects


def genome_regions(
    folder: Path, *, descriptions: Path | None = None, objects: Path | None = None,
    attributes: Path | None = None,
) -> Found:  # fmt: skip
    """Visual Genome's region descriptions and objects.

    Args:
        folder: of the images, `VG_100K` and `VG_100K_2` below it or not.
        descriptions: `region_descriptions.json`.
        objects: `objects.json`; not needed beside attributes, which has the same objects.
        attributes: `attributes.json`.

    Returns:
        Records by ascending image id, images relative to the folder; defects, images that are missing too.

    Raises:
        UserError: no file is given, or one is missing, broken or of another layout.
    """
    if descriptions is None and objects is None and attributes is None:
        raise UserError("Visual Genome: name region_descriptions.json, objects.json or attributes.json")
    defects, regions = Defects(), dict[int, list[Region]]()
    sources = ((descriptions, "regions"), (None if attributes else objects, "objects"),
               (attributes, "attributes"))  # fmt: skip
    for path, key in sources:
        for entry in () if path is None else _list(path):
            number = entry.get("image_id", entry.get("id"))
            if not isinstance(number, int) or not isinstance(entry.get(key), list):
                raise UserError(f"{path}: an entry without image_id or {key}; it has {', '.join(entry)}")
            for place, part in enumerate(entry[key]):
                region = _genome_region(part, f"{path}: image {number}, {key}[{place}]", defects)
                if region is not None:
                    regions.setdefault(number, []).append(region)
    index, found = ImageIndex(folder), []
    for number in sorted(regions):
        image = index.find(f"{number}.jpg")
        if image is None:
            defects.add("images that are missing", f"{number}.jpg is not below {folder}")
            continue
        name = image.relative_to(folder).as_posix()
        found.append(RegionRecord(name, tuple(regions[number]), (), f"image {number}"))
    return found, defects


def entities_regions(folder: Path, images: Iterable[str] | None = None, *, captions: bool = True) -> Found:
    """The phrases of Flickr30k Entities with their boxes, several where a phrase names several things.

    Args:
        folder: with `Sentences/ID.txt` and `Annotations/ID.xml`.
        images: ids, as `train.txt` lists them; None: all.
        captions: also give the sentences as captions of the whole image.

    Returns:
        Records, images called ID.jpg; defects. Phrases without a box are no defects.

    Raises:
        UserError: no such folders, or broken XML.
    """
    sentences = folder / "Sentences"
    if not sentences.is_dir():
        raise UserError(f"{folder}: has no folder Sentences, as Flickr30k Entities has")
    named = sorted(path.stem for path in sentences.glob("*.txt")) if images is None else images
    defects, found = Defects(), []
    for name in named:
        path = sentences / f"{name}.txt"
        if not path.is_file():
            defects.add("images without sentences", f"{path}: no such file")
            continue
        boxes = _entity_boxes(folder / "Annotations" / f"{name}.xml", defects)
        phrases: dict[str, list[str]] = {}
        plain = []
        for line in path.read_text(encoding="utf-8").splitlines():
            for number, words in _PHRASE.findall(line):
                if number in boxes and words not in phrases.setdefault(number, []):
                    phrases[number].append(words)
            if line.strip():
                plain.append(_PHRASE.sub(r"\2", line).strip())
        regions = tuple(Region(tuple(boxes[key]), tuple(texts)) for key, texts in phrases.items())
        found.append(RegionRecord(f"{name}.jpg", regions, tuple(plain) if captions else (), str(path)))
    return found, defects


def referring_regions(refs: Path, instances: Path | None = None, *, split: str | None = None) -> Found:
    """The expressions of RefCOCO, RefCOCO+ and RefCOCOg with the box of what they refer to.

    Args:
        refs: `refs(unc).p` and the like, or the same list as JSON.
        instances: None: `instances.json` beside it.
        split: such as `train`; None: all.

    Returns:
        Records in the order of the images; defects.

    Raises:
        UserError: a file is missing, broken or of another layout, or there is no such split.
    """
    instances = refs.with_name("instances.json") if instances is None else instances
    content, defects = _object(instances, "images", "annotations"), Defects()
    boxes = {entry.get("id"): entry.get("bbox") for entry in content["annotations"]}
    names = {entry.get("id"): str(entry["file_name"]) for entry in content["images"]}
    listed = _list(refs) if refs.suffix == ".json" else load_plain(refs)
    if not isinstance(listed, list) or not all(
        isinstance(ref, dict) and "sentences" in ref for ref in listed
    ):
        raise UserError(f"{refs}: not a list of expressions, each with sentences and ann_id")
    splits = {str(ref.get("split")) for ref in listed}
    if split is not None and split not in splits:
        raise UserError(f"{refs}: no split {split}; it has {', '.join(sorted(splits))}")
    regions: dict[Any, list[Region]] = {}
    for ref in listed:
        where = f"{refs}: ref {ref.get('ref_id')}"
        if split is not None and ref.get("split") != split:
            continue
        if ref.get("image_id") not in names:
            defects.add("unknown images", f"{where}: image_id {ref.get('image_id')!r} is unknown")
        elif box := _box(boxes.get(ref.get("ann_id")), where, defects):
            texts = tuple(str(own.get("sent", own.get("raw", ""))) for own in ref["sentences"])
            regions.setdefault(ref["image_id"], []).append(Region((box,), texts))
    found = [
        RegionRecord(name, tuple(regions[number]), (), f"{refs}: image {number}")
        for number, name in names.items()
        if number in regions
    ]
    return found, defects


def _genome_region(part: Any, where: str, defects: Defects) -> Region | None:
    if not isinstance(part, dict):
        defects.add("regions that are no objects", f"{where} is {part!r}, no object")
        return None
    size = [part.get("w", part.get("width")), part.get("h", part.get("height"))]
    box = _box([part.get("x"), part.get("y"), *size], where, defects)
    phrase = part.get("phrase")
    texts = (phrase,) if isinstance(phrase, str) else tuple(map(str, part.get("names") or ()))
    if box is None or not texts:
        if box is not None:
            defects.add("regions without a text", f"{where} has neither phrase nor names")
        return None
    return Region((box,), texts, tuple(map(str, part.get("attributes") or ())))


def _entity_boxes(path: Path, defects: Defects) -> dict[str, list[Box]]:
    """Boxes by the number of the phrase."""
    from xml.etree import ElementTree

    if not path.is_file():
        defects.add("images without annotations", f"{path}: no such file")
        return {}
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: not valid XML ({error})") from error
    found: dict[str, list[Box]] = {}
    for entry in root.iter("object"):
        corners = [entry.findtext(f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")]
        if None in corners:  # a phrase about the scene, or about what is not in the picture
            continue
        try:
            left, top, right, bottom = (float(side or "") for side in corners)
        except ValueError:
            defects.add("boxes that are not four numbers", f"{path}: {corners}")
            continue
        box = _box([left, top, right - left, bottom - top], str(path), defects)
        if box is not None:
            for name in entry.findall("name"):
                found.setdefault((name.text or "").strip(), []).append(box)
    return found


def _box(value: Any, where: str, defects: Defects) -> Box | None:
    fault = box_fault(value)
    if fault:
        defects.add(fault, f"{where}: box {value!r}")
        return None
    x, y, width, height = (float(side) for side in value)
    return x, y, width, height


def _object(path: Path, *lists: str) -> dict[str, Any]:
    content = _json(path)
    for name in lists:
        part = content.get(name) if isinstance(content, dict) else None
        if not isinstance(part, list) or not all(isinstance(entry, dict) for entry in part):
            raise UserError(f"{path}: has no list {name!r} of objects, as COCO's files have")
    return dict(content)


def _list(path: Path) -> list[dict[str, Any]]:
    content = _json(path)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise UserError(f"{path}: not a list of objects")
    return content


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
