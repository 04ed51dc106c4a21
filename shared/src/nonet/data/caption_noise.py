"""Wrong captions on purpose, for studies of noise: which ones, and what they were, is kept (ours).

Of a table's captions a fixed share is replaced by captions of other images. The choice follows from the seed;
with the same seed, a smaller share is a part of a larger one, and a caption in both has the same wrong text.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from nonet.data.batching import generator
from nonet.data.image_text_pairs import PairTable
from nonet.data.packed_texts import PackedTexts
from nonet.errors import UserError

_DRAWS = 100  # captions drawn for each wrong one, until it is of another image and reads otherwise


class WrongCaption(NamedTuple):
    """One caption that was replaced.

    Attributes:
        place: file and line of the image.
        caption: number of the caption among those of the image, from 0.
        was: the caption.
        now: the one of another image.
    """

    place: str
    caption: int
    was: str
    now: str


def corrupt_captions(table: PairTable, share: float, seed: int) -> tuple[PairTable, list[WrongCaption]]:
    """A table some of whose captions are those of other images.

    Args:
        table: the pairs.
        share: of the captions, 0..1; floor(share * captions) are replaced.
        seed: which ones, and by what.

    Returns:
        The table, and what was replaced, in the order of the table.

    Raises:
        UserError: not a share, or no caption differs from those of the image.
    """
    if not 0 <= share <= 1:
        raise UserError(f"a share of {share} wrong captions; it lies in 0..1")
    count = len(table.captions)
    image = np.repeat(np.arange(len(table)), np.diff(table.first))  # of each caption
    order = generator(seed, "wrong captions").permutation(count)
    chosen = np.sort(order[: math.floor(share * count)])
    new: dict[int, str] = {}
    found: list[WrongCaption] = []
    for at in map(int, chosen):
        item = int(image[at])
        own = table.captions_of(item)
        random = generator(seed, "wrong caption", at)
        for _ in range(_DRAWS):
            other = int(random.integers(count))
            text = table.captions[other]
            if table.numbers[image[other]] != table.numbers[item] and text not in own:
                break
        else:
            raise UserError(
                f"{table.places[item]}: no caption of another image that reads otherwise was found"
            )
        new[at] = text
        found.append(WrongCaption(table.places[item], at - int(table.first[item]), table.captions[at], text))
    captions = PackedTexts(new.get(at, text) for at, text in enumerate(table.captions))
    return replace(table, captions=captions), found
