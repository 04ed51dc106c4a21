"""Image-text pairs of any known file or tar shard, in one table that many processes can read (ours).

    table = read_pairs(["captions.txt"], folder=Path("images"))
    table.captions_of(0), table.open(0)

An item is an image with its captions. Captions are cleaned when they are read; what is left out is counted.
"""

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.data.captions import MAX_WORDS, caption_number, clean_caption
from nonet.data.images import open_image
from nonet.data.packed_texts import PackedTexts, TextPacker
from nonet.data.pair_formats import NamedImage, OnBad, named_images
from nonet.data.web_shards import ShardImage, find_shards, read_shard
from nonet.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

_NUMBERED = re.compile(r"(\d{6,})(\.\w+)?$")
_TRIED = 20  # images of a file that are looked for, to find their folder


@dataclass(frozen=True, kw_only=True, eq=False)
class PairTable:
    """N images with their captions.

    Attributes:
        files: of each image; for one in a shard, the shard.
        spans: (N, 2) int64, first byte and bytes in a shard; -1 and -1 for a file of its own.
        names: what messages call the image.
        captions: of all images, one after the other.
        first: (N + 1,) int64; image i has captions first[i] to first[i + 1] - 1.
        numbers: (N,) int64; equal where two items are one image.
        ids: of the images: what their file says, else the path.
        places: file and line of each image.
        left_out: what was not taken, and how often.
    """

    files: PackedTexts
    spans: NDArray[np.int64]
    names: PackedTexts
    captions: PackedTexts
    first: NDArray[np.int64]
    numbers: NDArray[np.int64]
    ids: PackedTexts
    places: PackedTexts
    left_out: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.files)

    def captions_of(self, index: int) -> list[str]:
        """The captions of image `index`; at least one."""
        return self.captions[int(self.first[index]) : int(self.first[index + 1])]

    def path(self, index: int) -> Path | None:
        """The file of an image; None for one in a shard."""
        return Path(self.files[index]) if self.spans[index, 0] < 0 else None

    def data(self, index: int) -> bytes:
        """The bytes of an image's file.

        Raises:
            UserError: it cannot be read.
        """
        start, size = (int(number) for number in self.spans[index])
        try:
            with open(self.files[index], "rb") as file:
                if start < 0:
                    return file.read()
                file.seek(start)
                return file.read(size)
        except OSError as error:
            raise UserError(f"{self.names[index]}: {(error.strerror or str(error)).lower()}") from error

    def open(self, index: int) -> "Image":
        """Image `index` as RGB, turned as its EXIF says.

        Raises:
            UserError: missing or damaged.
        """
        if self.spans[index, 0] < 0:
            return open_image(self.files[index])
        import io

        return open_image(self.names[index], file=io.BytesIO(self.data(index)))

    def take(self, indices: ArrayLike) -> "PairTable":
        """Some of the images, in the order of `indices`."""
        chosen = np.asarray(indices, np.int64)
        texts = [self.captions_of(int(i)) for i in chosen]
        counts = np.array([len(own) for own in texts], np.int64)
        return replace(
            self,
            files=self.files.take(chosen),
            spans=self.spans[chosen],
            names=self.names.take(chosen),
            captions=PackedTexts(text for own in texts for text in own),
            first=np.concatenate([[0], counts.cumsum()]).astype(np.int64),
            numbers=self.numbers[chosen],
            ids=self.ids.take(chosen),
            places=self.places.take(chosen),
        )

    def said(self) -> list[str]:
        """Lines on what is in the table and what was left out."""
        images = len(np.unique(self.numbers))
        lines = [f"{len(self):,} items of {images:,} images, {len(self.captions):,} captions"]
        return lines + [f"left out: {count:,} {what}" for what, count in sorted(self.left_out.items())]


def read_pairs(
    sources: Sequence[Path | str], *, folder: Path | None = None, split: str | None = None,
    max_words: int = MAX_WORDS, clean: bool = True, on_bad: OnBad = "raise",
    remark: Callable[[str], None] | None = None,
) -> PairTable:  # fmt: skip
    """A table of the pairs of several files and shards.

    Args:
        sources: files of the layouts in `pair_formats`; tar shards, a folder of them, or a glob
            (`web/*.tar`, `web/{00000..00031}.tar`).
        folder: what the files' image paths are below; None: looked for near each file.
        split: of Karpathy's files.
        max_words: of a caption; 0: all.
        clean: clean captions up as `clean_caption` does; else only white space is trimmed.
        on_bad: leave out records that cannot be read, and count them.
        remark: takes a line for each thing that was left out.

    Raises:
        UserError: a file is missing or broken, its images are not found, or no pair is left.
    """
    left_out: Counter[str] = Counter()
    rows = _Rows(left_out, max_words, clean)
    for source in sources:
        shards = find_shards(source)
        for shard in shards:
            for image in read_shard(shard, left_out):
                rows.add_member(image)
        if not shards:
            rows.add_named(Path(source), named_images(Path(source), split=split, on_bad=on_bad), folder)
    table = rows.table()
    if not len(table):
        why = "; ".join(table.said()[1:]) or "they are empty"
        raise UserError(f"{', '.join(map(str, sources))}: no image with a caption ({why})")
    if remark is not None:
        for line in table.said()[1:]:
            remark(line)
    return table


def same_images(table: PairTable, other: PairTable) -> list[str]:
    """Images that both tables have, by id or by file, named as the first one does."""
    known = set(other.ids)
    files = {_file_key(other, i) for i in range(len(other))}
    found = (
        table.names[i] for i in range(len(table)) if table.ids[i] in known or _file_key(table, i) in files
    )
    return list(dict.fromkeys(found))


def refuse_overlap(train: PairTable, other: PairTable, what: str) -> None:
    """Check that no image is in both.

    Args:
        train: what is learnt from.
        other: what is measured on.
        what: its name, such as `validation`.

    Raises:
        UserError: there are such images; the first ones are named.
    """
    shared = same_images(other, train)
    if shared:
        shown = ", ".join(shared[:3]) + (", ..." if len(shared) > 3 else "")
        raise UserError(
            f"{len(shared):,} images of the {what} data are in the training data too ({shown}): take "
            "them out of one of the two"
        )


class _Rows:
    """A table while it is read."""

    def __init__(self, left_out: Counter[str], max_words: int, clean: bool) -> None:
        self.left_out, self.max_words, self.clean = left_out, max_words, clean
        self.files, self.names, self.captions, self.ids, self.places = (TextPacker() for _ in range(5))
        self.spans, self.first, self.numbers = array("q"), array("q", [0]), array("q")
        self._number: dict[int, int] = {}

    def add_member(self, image: ShardImage) -> None:
        """Take an image of a shard."""
        name = f"{image.shard}:{image.name}"
        self._add(
            str(image.shard),
            (image.offset, image.size),
            name,
            image.captions,
            image.id,
            name,
            image.shard.parent,
        )

    def add_named(self, source: Path, images: Iterator[NamedImage], folder: Path | None) -> None:
        """Take the images of a file."""
        first = list(islice(images, _TRIED))
        base = image_folder(source, [image.image for image in first if image.image], folder)
        for image in chain(first, images):
            if not image.image:
                self.left_out["records that cannot be read"] += 1
                continue
            path = str(base / image.image)
            self._add(path, (-1, -1), path, image.captions, image.id, image.where, source)

    def _add(
        self, file: str, span: tuple[int, int], name: str, captions: Iterable[str], id: str, place: str,
        source: Path,
    ) -> None:  # fmt: skip
        texts = [clean_caption(text, self.max_words) if self.clean else text.strip() for text in captions]
        kept = [text for text in texts if text]
        if not texts:
            self.left_out["images without a caption"] += 1
            return
        self.left_out["captions empty after clean-up"] += len(texts) - len(kept)
        if not kept:
            self.left_out["images whose captions are all empty"] += 1
            return
        id = image_identity(id, name, source)
        self.files.add(file)
        self.spans.extend(span)
        self.names.add(name)
        for text in kept:
            self.captions.add(text)
        self.first.append(len(self.captions))
        self.numbers.append(self._number.setdefault(caption_number(id), len(self._number)))
        self.ids.add(id)
        self.places.add(place)

    def table(self) -> PairTable:
        """What was taken."""
        return PairTable(
            files=self.files.texts(),
            spans=np.array(self.spans, np.int64).reshape(-1, 2),
            names=self.names.texts(),
            captions=self.captions.texts(),
            first=np.array(self.first, np.int64),
            numbers=np.array(self.numbers, np.int64),
            ids=self.ids.texts(),
            places=self.places.texts(),
            left_out=+self.left_out,
        )


def image_identity(id: str, name: str, source: Path | str) -> str:
    """What an image is told apart by.

    A number is one of its data set: it is taken as it is where the file's name ends with it in six digits or
    more, as COCO's do whatever their folder and prefix; otherwise together with its source, so that image 7
    of two data sets is two images.

    Args:
        id: as the source has it, empty if it has none.
        name: path of the image.
        source: file, or folder of shards.
    """
    if not id:
        return name
    if not id.isdecimal():
        return id
    ending = _NUMBERED.search(name)
    return id if ending is not None and int(ending.group(1)) == int(id) else f"{source}:{id}"


def image_folder(source: Path, images: Sequence[str], folder: Path | None = None) -> Path:
    """The folder that a file's image paths are below: the one with most of the first images.

    Args:
        source: the file.
        images: some paths as it writes them.
        folder: where the user says they are; None: beside the file or in `images`, or where COCO has them.

    Raises:
        UserError: none of these images is there.
    """
    if folder is not None:
        places = [folder]
    else:
        near = source.parent
        split = source.stem.rpartition("_")[2]
        bases = (near, near.parent)
        places = [
            base / part for base in bases for part in ("", "images", "Images", split, f"images/{split}")
        ]
        places.append(Path())
    hits = [sum((place / image).is_file() for image in images) for place in places]
    if images and not any(hits):
        tried = f"below {folder}" if folder is not None else "beside it"
        raise UserError(f"{source}: its images are not {tried}, such as {images[0]}: name their folder")
    return places[int(np.argmax(hits))]


def _file_key(table: PairTable, index: int) -> str:
    import os

    start = int(table.spans[index, 0])
    return os.path.realpath(table.files[index]) + ("" if start < 0 else f":{start}")
