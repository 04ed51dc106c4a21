"""How many patches boxes cover, which is what a share of kept patches has to hold (ours).

The labels of patches are those that the detector learns: a patch is a box's if they overlap at all (COPA's
alignment of patches and texts). Whole images are looked at, as a question to an image does; training crops.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.vision_language.patch_raster import rasterise
from pta_vlp.select_options import kept_count


class BoxPatches:
    """Counts boxes by the patches that they cover in images of one size.

    Args:
        image: height and width that images are resized to, pixels; whole patches.
        patch: side of a patch, pixels.

    Raises:
        UserError: the image is not whole patches; the nearest sizes that are stand in the text.
    """

    def __init__(self, image: int, patch: int) -> None:
        if patch < 1 or image < patch or image % patch:
            below = max(image // max(patch, 1), 1) * patch
            raise UserError(
                f"image is {image}, which is not whole patches of {patch}; the nearest sizes are {below} and "
                f"{below + patch}"
            )
        self.image, self.patch = image, patch
        self.patches = (image // patch) ** 2
        self.counts = np.zeros(self.patches + 1, np.int64)  # how many boxes cover 0, 1, 2, ... patches

    def add(self, boxes: NDArray[np.float64], size: tuple[int, int]) -> None:
        """Count the boxes of an image.

        Args:
            boxes: (n, 4) float64 xywh in pixels of the stored image, within it.
            size: its width and height, pixels.
        """
        if len(boxes):
            scale = self.image / np.array([*size, *size], np.float64)
            covered = rasterise(boxes * scale, self.image, self.patch).sum(1).numpy()
            self.counts += np.bincount(covered, minlength=self.patches + 1)

    def mean(self) -> float:
        """Patches of a box, on average; 0 without boxes."""
        return float(self.counts @ np.arange(self.patches + 1)) / max(int(self.counts.sum()), 1)

    def kept(self, keep: float) -> int:
        """Patches that a share of them leaves, one at least."""
        with warnings.catch_warnings():  # that it is one at least is seen in the number
            warnings.simplefilter("ignore")
            return kept_count(keep, self.patches)

    def larger_than(self, keep: float) -> int:
        """Boxes that cover more patches than are kept: whatever is selected, some of theirs are dropped."""
        return int(self.counts[self.kept(keep) + 1 :].sum())

    def said(self, keeps: Sequence[float]) -> list[str]:
        """Lines for people, one for each share of patches that may be kept, each above 0 and at most 1."""
        boxes = int(self.counts.sum())
        lines = [
            f"at {self.image} pixels in {self.patches:,} patches of {self.patch}: a box covers "
            f"{self.mean():.1f} on average"
        ]
        for keep in keeps:
            more = self.larger_than(keep)
            lines.append(
                f"keep {keep:g} leaves {self.kept(keep):,}: {more:,} of {boxes:,} boxes "
                f"({more / max(boxes, 1):.1%}) cover more"
            )
        return lines
