"""Images read in batches, in order, by this process or by others (ours)."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nonet.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image


def image_batches(
    opened: Callable[[int], "Image"],
    items: Sequence[int],
    transform: Callable[["Image"], Tensor],
    *,
    batch: int,
    workers: int = 0,
) -> Iterator[Tensor]:
    """Images in batches.

    Args:
        opened: opens an image by its number, such as `PairTable.open`.
        items: the numbers, in the order in which they come.
        transform: an image to (3, H, W) float32, such as `PlainImages`.
        batch: images at once, the last time fewer.
        workers: processes that read; 0: this one.

    Yields:
        (b, 3, H, W) float32.

    Raises:
        UserError: an image cannot be read: nothing is measured on the others alone.
    """
    if batch < 1 or workers < 0:
        raise UserError(f"batch is {batch} and workers {workers}; at least 1, and 0 or more")
    images = _Images(opened, items, transform)
    loader: Any = DataLoader(images, batch_size=batch, num_workers=workers, collate_fn=list)
    for found in loader:
        for pixels in found:
            if isinstance(pixels, str):
                raise UserError(pixels)
        yield torch.stack(found)


class _Images(Dataset):  # type: ignore[misc]
    """Pixels, or why there are none: an error of another process would come with its whole trace."""

    def __init__(
        self, opened: Callable[[int], "Image"], items: Sequence[int], transform: Callable[["Image"], Tensor]
    ) -> None:
        self.opened, self.items, self.transform = opened, items, transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> Tensor | str:
        try:
            return self.transform(self.opened(int(self.items[place])))
        except UserError as error:
            return str(error)
