"""Files that give images their texts, as they are found (ours).

A JSON list or lines of `{"image": path, "caption": text or list}`; tables with those columns, such as the
captions.txt of Flickr8k; Flickr8k's older token file; Flickr30k's results.csv; COCO's captions_*.json; the
dataset_*.json of Karpathy and Li (2015).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nonet.data.text import Record, TextReader
from nonet.errors import UserError

IMAGE_FIELDS = ("image", "image_path", "filepath", "filename", "file_name", "img")
CAPTION_FIELDS = ("caption", "captions", "text", "sentence", "sentences", "comment")

OnBad = Literal["raise", "skip"]


class NamedImage(NamedTuple):
    """An image and its texts, as a file names them.

    Attributes:
        image: path as written.
        captions: as written, in order.
        id: of the image, if the file has one; images with equal ids are one image.
        where: file and line, or record.
    """

    image: str
    captions: tuple[str, ...]
    id: str
    where: str


def named_images(path: Path, *, split: str | None = None, on_bad: OnBad = "raise") -> Iterator[NamedImage]:
    """The images of one file with their texts.

    Args:
        path: the file; its layout is found from its ending and first lines.
        split: of a Karpathy file, `train`, or several as in `train+restval`; None: all.
        on_bad: leave out records that cannot be read.

    Raises:
        UserError: no such file, another layout, a broken record (with its line) unless they are left out,
            or a split that the file does not have.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    kind = _kind_of_table(path)
    if kind == "token":
        found: Iterator[NamedImage] = _grouped(_token_lines(path))
    elif kind == "bars":
        found = _grouped(_bar_lines(path))
    elif kind == "csv":
        found = _grouped(_rows(TextReader(path, format="csv", on_bad=on_bad)))
    elif path.name.lower().removesuffix(".gz").removesuffix(".zst").endswith((".csv", ".tsv")):
        found = _grouped(_rows(TextReader(path, on_bad=on_bad)))
    else:
        found = _records(TextReader(path, on_bad=on_bad), split, on_bad)
        split = None
    if split is not None:
        raise UserError(f"{path}: has no splits; leave out the split {split!r}, or name a dataset_*.json")
    return found


def _kind_of_table(path: Path) -> str:
    """The layout of a .txt or .csv file; empty for others."""
    if path.suffix.lower() not in (".txt", ".csv"):
        return ""
    with open(path, encoding="utf-8", errors="replace") as file:
        first = file.readline().strip()
    if "|" in first and first.replace(" ", "").startswith("image_name|"):
        return "bars"
    name, tab, _ = first.partition("\t")
    if tab and name.rpartition("#")[2].isdigit():
        return "token"
    if first.split(",")[0].strip('"\ufeff ') in IMAGE_FIELDS and "," in first:
        return "csv"
    if path.suffix.lower() == ".txt":
        raise UserError(
            f"{path}:1: neither a header such as image,caption nor a line NAME.jpg#0<tab>CAPTION: "
            f"{first[:80]!r}"
        )
    return ""


def _token_lines(path: Path) -> Iterator[tuple[str, str, str]]:
    for record in TextReader(path, format="text"):
        name, tab, caption = record.fields["text"].partition("\t")
        if not tab:
            raise UserError(f"{record.where}: no tab between image and caption")
        yield name.rpartition("#")[0] or name, caption, record.where


def _bar_lines(path: Path) -> Iterator[tuple[str, str, str]]:
    for number, record in enumerate(TextReader(path, format="text")):
        cells = [cell.strip() for cell in record.fields["text"].split("|", 2)]
        if number == 0:
            continue
        if len(cells) == 2:  # one line of the released file lacks its second bar
            cells = [cells[0], *cells[1].split(" ", 1)]
        if len(cells) != 3:
            raise UserError(f"{record.where}: not image | number | comment")
        yield cells[0], cells[2], record.where


def _rows(reader: TextReader) -> Iterator[tuple[str, str, str]]:
    for record in reader:
        yield str(_first(record, IMAGE_FIELDS)), str(_first(record, CAPTION_FIELDS)), record.where


def _grouped(rows: Iterable[tuple[str, str, str]]) -> Iterator[NamedImage]:
    """Rows of one image together, in the order of their first ones."""
    captions: dict[str, list[str]] = {}
    where: dict[str, str] = {}
    for image, caption, place in rows:
        captions.setdefault(image, []).append(caption)
        where.setdefault(image, place)
    return (NamedImage(image, tuple(texts), "", where[image]) for image, texts in captions.items())


def _records(reader: TextReader, split: str | None, on_bad: OnBad) -> Iterator[NamedImage]:
    for number, record in enumerate(reader):
        if number == 0 and isinstance(record.fields.get("images"), list):
            name = record.where.partition(":record")[0]
            if isinstance(record.fields.get("annotations"), list):
                if split is not None:
                    raise UserError(f"{name}: COCO's files are one split each; leave out {split!r}")
                yield from _coco(record.fields, name)
            else:
                yield from _karpathy(record.fields, name, split)
            return
        if split is not None:
            raise UserError(f"{record.where}: has no splits; leave out the split {split!r}")
        try:
            found = _record(record)
        except UserError:
            if on_bad == "raise":
                raise
            found = NamedImage("", (), "", record.where)
        yield found


def _record(record: Record) -> NamedImage:
    image = _first(record, IMAGE_FIELDS)
    if not isinstance(image, str) or not image:
        raise UserError(f"{record.where}: image is {image!r}; it is a path")
    captions = _first(record, CAPTION_FIELDS)
    texts = [captions] if isinstance(captions, str) else captions
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(
            f"{record.where}: caption is a {type(captions).__name__}; it is a text or a list of them"
        )
    number = record.fields.get("image_id", "")
    return NamedImage(image, tuple(texts), str(number) if number is not None else "", record.where)


def _first(record: Record, names: tuple[str, ...]) -> Any:
    for name in names:
        if name in record.fields:
            return record.fields[name]
    there = ", ".join(record.fields) or "none"
    raise UserError(f"{record.where}: no field {names[0]!r}; fields are {there}")


def _coco(content: dict[str, Any], name: str) -> Iterator[NamedImage]:
    captions: dict[Any, list[str]] = {}
    for number, entry in enumerate(content["annotations"]):
        if not isinstance(entry, dict) or not isinstance(entry.get("caption"), str):
            hint = "; boxes are read as regions" if isinstance(entry, dict) and "bbox" in entry else ""
            raise UserError(f"{name}: annotations[{number}] has no caption{hint}")
        captions.setdefault(entry.get("image_id"), []).append(entry["caption"])
    for number, image in enumerate(content["images"]):
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
            raise UserError(f"{name}: images[{number}] has no file_name")
        texts = tuple(captions.get(image.get("id"), ()))
        yield NamedImage(image["file_name"], texts, str(image.get("id", "")), f"{name}:images[{number}]")


def _karpathy(content: dict[str, Any], name: str, split: str | None) -> Iterator[NamedImage]:
    wanted = None if split is None else set(split.split("+"))
    met: set[str] = set()
    for number, image in enumerate(content["images"]):
        where = f"{name}:images[{number}]"
        sentences = image.get("sentences") if isinstance(image, dict) else None
        if not isinstance(sentences, list) or not isinstance(image.get("filename"), str):
            raise UserError(f"{where} has no filename or no sentences, as a dataset_*.json has")
        met.add(str(image.get("split")))
        if wanted is not None and image.get("split") not in wanted:
            continue
        folder = image.get("filepath")
        file = f"{folder}/{image['filename']}" if folder else image["filename"]
        id = image.get("cocoid", image.get("imgid", ""))
        yield NamedImage(file, tuple(str(sentence.get("raw", "")) for sentence in sentences), str(id), where)
    if wanted is not None and not wanted <= met:
        missing = ", ".join(sorted(wanted - met))
        raise UserError(f"{name}: no image of split {missing}; it has {', '.join(sorted(met))}")
