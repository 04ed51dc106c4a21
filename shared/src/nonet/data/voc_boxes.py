"""Pascal VOC's XML files (Everingham et al. 2010; the VOC development kit), and folders laid out alike.

VOC counts pixels from 1 and a box includes its last pixel: xmin..xmax of a box over a whole image is
1..width, which is 0..width here (offset 1). Other tools write the edges themselves (offset 0).
"""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from nonet.data.image_index import ImageIndex, stem
from nonet.data.images import image_size
from nonet.data.labelled_boxes import BoxRows, LabelledImage, LabelledImages, listed
from nonet.errors import UserError
from nonet.files import write_text

VOC_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
CLASSES = "classes.txt"
_ANNOTATIONS = ("Annotations", "annotations", "annots", "xml", "labels")
_IMAGES = ("JPEGImages", "images", "Images", "imgs")
_SIDES = ("xmin", "ymin", "xmax", "ymax")


class _Layout(NamedTuple):
    """Where a data set has its files: the XML files of the split, and of all splits."""

    files: list[Path]
    everything: list[Path]
    images: Path
    missing: list[str]


class _Object(NamedTuple):
    name: str
    box: tuple[float, float, float, float]
    difficult: bool
    where: str


class _Page(NamedTuple):
    """What an XML file says."""

    filename: str
    size: tuple[int, int]
    objects: list[_Object]


def read_voc(
    root: Path,
    split: str | None = None,
    *,
    offset: int | None = None,
    drop_difficult: bool = False,
    mend: bool = True,
) -> LabelledImages:
    """The labelled images of a VOC folder.

    Layouts: `Annotations` and `JPEGImages` (or `annots`, `images`, ...) with `ImageSets/Main/SPLIT.txt`, or a
    folder with images and XML files side by side. Without such a list the split is a folder below `root`.

    Classes are the lines of `classes.txt` in the folder, else VOC's twenty in VOC's own folders, else the
    names of all splits in alphabetical order.

    Args:
        root: the folder.
        split: name of the list or folder; None takes every XML file.
        offset: 1: VOC's own counting; 0: edges; None: 1 in VOC's own folders, where a folder's name is
            VOCdevkit or VOC and a year.
        drop_difficult: leave out boxes marked as difficult.
        mend: as in `BoxRows.image`.

    Raises:
        UserError: no such folder or split, no XML file, names that `classes.txt` lacks, more than half of the
            images missing or XML files broken.
    """
    if offset not in (None, 0, 1):
        raise UserError(f"the offset of VOC's pixels is 0 or 1, not {offset}")
    layout = _layout(root, split)
    own = vocs_own(root)
    offset = int(own) if offset is None else offset
    defects = [f"{root}: the list {split} names {name}, which has no XML file" for name in layout.missing]
    pages: dict[Path, _Page] = {}
    for file in layout.files:
        try:
            pages[file] = _page(file, offset, defects)
        except ElementTree.ParseError as error:
            defects.append(f"{file}:{error.position[0]}: not valid XML ({error}); left out")
    names = _names(pages, layout, root, own)
    images, more = _images(pages, names, ImageIndex(layout.images), defects, drop_difficult, mend)
    left = len(layout.files) - len(images)
    if 2 * left > len(layout.files):
        raise UserError(f"{root}: {left} of {len(layout.files)} images are unusable, the first: {defects[0]}")
    used = set(pages)
    alone = _without_xml(layout, used) if split is None else 0
    if alone:
        more.append(f"{root}: {alone} images have no XML file and are left out")
    more.append(f"{root}: pixels are counted from {offset} (the option voc-offset decides)")
    return LabelledImages(
        images=images,
        names=names,
        category_ids=tuple(range(1, len(names) + 1)),
        remarks=more,
        defects=defects,
    )


def vocs_own(root: Path) -> bool:
    """Whether a folder's name, or that of one above it, is VOCdevkit or VOC and a year."""
    return any(re.fullmatch(r"VOCdevkit|VOC20\d\d", part) for part in root.resolve().parts)


def write_voc(image: LabelledImage, names: tuple[str, ...], file: Path, *, offset: int = 1) -> None:
    """Write the XML file of one image; coordinates have decimals where they are not whole.

    Crowd regions, which VOC does not know, are left out. Boxes that were predicted have a `score`.

    Args:
        image: with its boxes.
        names: of the K classes.
        file: the XML to write.
        offset: 1: VOC's own counting of pixels; 0: edges.
    """
    page = ElementTree.Element("annotation")
    _say(page, "folder", image.path.parent.name)
    _say(page, "filename", image.path.name)
    size = ElementTree.SubElement(page, "size")
    for name, value in (("width", image.width), ("height", image.height), ("depth", 3)):
        _say(size, name, str(value))
    _say(page, "segmented", "0")
    for row in range(len(image.labels)):
        if image.crowd[row]:
            continue
        thing = ElementTree.SubElement(page, "object")
        _say(thing, "name", names[int(image.labels[row])])
        for name in ("pose", "truncated"):
            _say(thing, name, "Unspecified" if name == "pose" else "0")
        _say(thing, "difficult", str(int(image.difficult[row])))
        if image.scores is not None:
            _say(thing, "score", f"{image.scores[row]:.6f}")
        box = ElementTree.SubElement(thing, "bndbox")
        left, top, right, bottom = image.boxes[row].tolist()
        sides = (left + offset, top + offset, right, bottom)
        for name, side in zip(_SIDES, sides, strict=True):
            _say(box, name, f"{side:.2f}".rstrip("0").rstrip("."))
    ElementTree.indent(page, "\t")
    write_text(file, ElementTree.tostring(page, encoding="unicode") + "\n")


def _layout(root: Path, split: str | None) -> _Layout:
    if not root.is_dir():
        raise UserError(f"no folder {root}")
    folder = next((root / name for name in _ANNOTATIONS if (root / name).is_dir()), root)
    images = next((root / name for name in _IMAGES if (root / name).is_dir()), root)
    lists = root / "ImageSets" / "Main"
    if split is None or (lists / f"{split}.txt").is_file():
        everything = sorted(folder.rglob("*.xml"))
        if not everything:
            raise UserError(f"{root}: no XML file in {folder}; is it a folder of Pascal VOC?")
        if split is None:
            return _Layout(everything, everything, images, [])
        lines = (lists / f"{split}.txt").read_text(encoding="utf-8").splitlines()
        wanted = [stem(line.split()[0]) for line in lines if line.strip()]
        known = {stem(file.name).lower(): file for file in everything}
        missing = [name for name in wanted if name.lower() not in known]
        found = [known[name.lower()] for name in dict.fromkeys(wanted) if name.lower() in known]
        return _Layout(found, everything, images, missing)
    for below in (folder / split, root / split):
        if below.is_dir():
            inner = _layout(below, None)
            pictures = images / split if images != root and (images / split).is_dir() else inner.images
            return inner._replace(images=pictures, everything=sorted(root.rglob("*.xml")))
    there = sorted(file.stem for file in lists.glob("*.txt")) if lists.is_dir() else []
    more = f"; there are {', '.join(there)}" if there else ""
    raise UserError(f"{root}: no list {lists / split}.txt and no folder {split}{more}")


def _page(file: Path, offset: int, defects: list[str]) -> _Page:
    page = ElementTree.parse(file).getroot()
    objects: list[_Object] = []
    for number, thing in enumerate(page.iter("object")):
        where = f"{file}: object {number} (from 0)"
        name = (thing.findtext("name") or "").strip()
        try:
            sides = [float(thing.findtext(f"bndbox/{side}") or "") for side in _SIDES]
        except ValueError:
            defects.append(f"{where} has no bndbox of four numbers; dropped")
            continue
        if not name:
            defects.append(f"{where} has no name; dropped")
            continue
        left, top, right, bottom = sides
        difficult = (thing.findtext("difficult") or "0").strip() == "1"
        objects.append(_Object(name, (left - offset, top - offset, right, bottom), difficult, where))
    try:
        size = tuple(int(float(page.findtext(f"size/{side}") or "0")) for side in ("width", "height"))
    except ValueError:
        size = (0, 0)
    return _Page((page.findtext("filename") or "").strip(), (size[0], size[1]), objects)


def _names(pages: dict[Path, _Page], layout: _Layout, root: Path, own: bool) -> tuple[str, ...]:
    found = {thing.name for page in pages.values() for thing in page.objects}
    if (root / CLASSES).is_file():
        lines = (root / CLASSES).read_text(encoding="utf-8").splitlines()
        names = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
        if found - set(names):
            raise UserError(
                f"{root / CLASSES}: lacks {listed(sorted(found - set(names)))}, which boxes are called"
            )
        return names
    if own and found <= set(VOC_NAMES):
        return VOC_NAMES
    for file in layout.everything:
        if file not in pages:
            try:
                found |= {thing.name for thing in _page(file, 0, []).objects}
            except ElementTree.ParseError:
                continue  # of another split, and reported there
    return tuple(sorted(found))


def _images(
    pages: dict[Path, _Page],
    names: tuple[str, ...],
    index: ImageIndex,
    defects: list[str],
    drop_difficult: bool,
    mend: bool,
) -> tuple[list[LabelledImage], list[str]]:
    """The images with their boxes, and remarks."""
    label = {name: number for number, name in enumerate(names)}
    images: list[LabelledImage] = []
    counts: Counter[str] = Counter()
    for file, page in pages.items():
        path = index.find(file.stem) or (index.find(page.filename) if page.filename else None)
        if path is None:
            defects.append(f"{file}: no image {file.stem} below {index.folder}; left out")
            continue
        if page.filename and stem(page.filename) != path.stem:
            counts["files name another image than the one beside them, which is taken"] += 1
        size = page.size
        if min(size) < 1:
            counts["files do not say the image's size, which is read from the image"] += 1
            size = image_size(path)
        rows = BoxRows()
        for thing in page.objects:
            counts["boxes are difficult and left out"] += thing.difficult and drop_difficult
            if not (thing.difficult and drop_difficult):
                rows.add(thing.box, label[thing.name], thing.where, difficult=thing.difficult)
        images.append(rows.image(path, *size, len(images) + 1, defects, mend=mend))
    counts["images have no box"] += sum(not len(image.labels) for image in images)
    return images, [f"{count} {what}" for what, count in counts.items() if count]


def _without_xml(layout: _Layout, used: Iterable[Path]) -> int:
    known = {file.stem.lower() for file in used}
    return sum(path.stem.lower() not in known for path in ImageIndex(layout.images).paths())


def _say(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, name).text = text
