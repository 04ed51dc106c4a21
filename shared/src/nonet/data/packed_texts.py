"""Many short texts in two arrays (ours).

A list of ten million Python strings takes a gigabyte, and each process that loads data copies it, as counting
references writes to it. Here it is the bytes and one number a text, which are read only.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray


class TextPacker:
    """Takes texts one by one; they are never Python strings all at once."""

    def __init__(self) -> None:
        self._ends, self._bytes = array("q", [0]), bytearray()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, text: str) -> None:
        """Take a text."""
        self._bytes += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))

    def arrays(self) -> tuple[bytes, NDArray[np.int64]]:
        """The bytes of all texts, and (texts + 1,) where each begins and ends."""
        return bytes(self._bytes), np.array(self._ends, np.int64)

    def texts(self) -> "PackedTexts":
        """What was taken so far."""
        found = PackedTexts()
        found._data, found._ends = self.arrays()
        return found


class PackedTexts(Sequence[str]):
    """A sequence of texts that cannot be changed.

    Args:
        texts: in order.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        packer = TextPacker()
        for text in texts:
            packer.add(text)
        self._data, self._ends = packer.arrays()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        place = index % len(self)
        start, end = int(self._ends[place]), int(self._ends[place + 1])
        return self._data[start:end].decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def take(self, indices: ArrayLike) -> "PackedTexts":
        """Some of the texts, in the order of `indices`."""
        return PackedTexts(self[int(i)] for i in np.asarray(indices, np.int64))
