"""Items made of images, each a function of (seed, epoch, index); what cannot be used is replaced (ours)."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Generic, NamedTuple, Self, TypeVar

from torch import Tensor
from torch.utils.data import get_worker_info

from nonet.data.batching import Pair, generator
from nonet.data.images import MAX_PIXELS, open_image, to_uint8
from nonet.errors import RunFailed, UserError
from updetr.image_sources import Sources

T = TypeVar("T")

MIB = 2**20  # bytes
_ATTEMPTS = 32  # other images that are tried in the place of one that cannot be used


class Note(NamedTuple):
    """What is to be said about a file: that it was left out, or how it was read."""

    file: str
    text: str
    skipped: bool


class ImageRows(ABC, Generic[T]):
    """`rows[(epoch, index)]` is made of image `index`, or of another where that one cannot be used.

    Args:
        images: the files.
        seed: the run's.
        orient: turn images as their EXIF says.
        max_pixels: of an image.
        keep: MiB of decoded images that are kept in memory, and on the device where no other process loads
            them; the first ones that come.

    Attributes:
        numbers: which of the images these rows are of.
        left_out: files beside them that could not be used from the first.
    """

    def __init__(
        self,
        images: Sequence[Path],
        *,
        seed: int,
        orient: bool = True,
        max_pixels: int = MAX_PIXELS,
        keep: int = 0,
    ) -> None:
        self.images, self.seed, self.orient = list(images), seed, orient
        self.max_pixels, self.keep = max_pixels, keep
        self.numbers: Sequence[int] = range(len(self.images))
        self.left_out = 0
        self._kept = _Kept()

    def __len__(self) -> int:
        return len(self.numbers)

    def subset(self, places: Sequence[int]) -> Self:
        """The rows at those places alone, each with the random numbers that it has here."""
        part = copy(self)
        part.numbers = [self.numbers[place] for place in places]
        return part

    def __getitem__(self, row: Pair) -> T:
        """The item of (epoch, index).

        Raises:
            RunFailed: neither this image nor any of 32 others can be used.
        """
        epoch, index = row[0], self.numbers[row[1]]
        notes: list[Note] = []
        for number in self._candidates(epoch, index):
            path = self.images[number]
            try:
                return self.item(number, row, (epoch, index), notes)
            except UserError as error:
                notes.append(Note(str(path), str(error).removeprefix(f"{path}: "), True))
        raise RunFailed(f"{notes[0].file} and {_ATTEMPTS} other images cannot be used: {notes[0].text}")

    @abstractmethod
    def item(self, number: int, row: Pair, key: Pair, notes: list[Note]) -> T:
        """The item of an image.

        Args:
            number: of the image.
            row: (epoch, index) that was asked for.
            key: what random numbers depend on beside the seed.
            notes: on images that were tried before; takes what is to be said about this one.

        Raises:
            UserError: the image cannot be used.
        """

    def pixels(self, number: int, notes: list[Note]) -> Tensor:
        """(3, height, width) uint8 of an image, its channels side by side in memory.

        Args:
            number: of the image.
            notes: takes what is to be said.

        Raises:
            UserError: the image cannot be read.
        """
        if number in self._kept.images:
            return self._kept.images[number]
        path = self.images[number]
        heard: list[str] = []
        picture = open_image(path, max_pixels=self.max_pixels, orient=self.orient, remark=heard.append)
        notes.extend(Note(str(path), text.removeprefix(f"{path}: "), False) for text in heard)
        found = to_uint8(picture)
        worker = get_worker_info()
        if self._kept.bytes + found.numel() <= self.keep * MIB // (worker.num_workers if worker else 1):
            self._kept.images[number] = found
            self._kept.bytes += found.numel()
        return found

    def sources(self, images: Sequence[Tensor], numbers: Sequence[int]) -> Sources:
        """Images of a batch, of which those that are kept will be kept on the device, too."""
        if get_worker_info() is not None:
            return Sources(images)
        kept = [
            number if self._kept.images.get(number) is image else None
            for number, image in zip(numbers, images, strict=True)
        ]
        return Sources(images, kept, self._kept.on_device if self.keep else None)

    def _candidates(self, epoch: int, index: int) -> Iterator[int]:
        """The image itself; others are drawn only if it cannot be used."""
        yield index
        random = generator(self.seed, "instead", epoch, index)
        for place in random.integers(len(self.numbers), size=_ATTEMPTS):
            yield self.numbers[place]


class _Kept:
    """Decoded images by number; another process begins without any."""

    def __init__(self) -> None:
        self.images: dict[int, Tensor] = {}
        self.on_device: dict[int, Tensor] = {}
        self.bytes = 0

    def __reduce__(self) -> Any:
        return _Kept, ()
