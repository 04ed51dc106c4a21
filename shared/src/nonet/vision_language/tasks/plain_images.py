"""Images without captions, to be captioned: files, folders, or files that list pairs (ours)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nonet.data.image_text_pairs import PairTable, read_pairs
from nonet.data.images import find_images, looks_like_image, open_image

if TYPE_CHECKING:
    from PIL.Image import Image


class PlainTable:
    """Images by number, as captioning asks for them.

    Args:
        paths: of the images.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self.ids = self.places = [str(path) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def open(self, index: int) -> "Image":
        """Image `index` as RGB.

        Raises:
            UserError: it cannot be read.
        """
        return open_image(self.paths[index])


def read_plain_images(
    sources: Sequence[str], folder: Path | None = None, split: str | None = None
) -> PlainTable | PairTable:
    """Images of files and folders, or of files of pairs.

    Args:
        sources: all image files and folders, or all files of pairs.
        folder: what the paths of pairs are below.
        split: of Karpathy's files.

    Raises:
        UserError: nothing there.
    """
    paths = [Path(source) for source in sources]
    if all(path.is_dir() or looks_like_image(path) for path in paths):
        return PlainTable(
            [image for path in paths for image in ([path] if path.is_file() else find_images(path))]
        )
    return read_pairs(sources, folder=folder, split=split, clean=False)
