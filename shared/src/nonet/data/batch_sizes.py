"""How many items fit into a batch: limits on items and on padded tokens, checked and filled (ours)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError

Indices = NDArray[np.int64]

LEAST = 8  # items that a batch gets at least by default, where the limits have room


def check_sizes(count: int, batch: int | None, max_tokens: int | None) -> None:
    """Raises UserError when there are no items, no limit, or a limit below one."""
    if count < 1:
        raise UserError("there are no items to make batches of; check the input")
    if batch is None and max_tokens is None:
        raise UserError("the size of batches is not set; give items in a batch, tokens in a batch, or both")
    for name, value in (("items", batch), ("tokens", max_tokens)):
        if value is not None and value < 1:
            raise UserError(f"a batch of {value} {name} is not possible; the number must be positive")


def as_sides(lengths: ArrayLike) -> Indices:
    """Lengths as int64 (items, sides), from (items,) or (items, sides)."""
    array = np.asarray(lengths, np.int64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or (array < 0).any():
        raise ValueError(
            f"lengths have shape {array.shape}; expected (items,) or (items, sides), none negative"
        )
    return array


def check_longest(lengths: Indices, max_tokens: int) -> None:
    """Raises UserError when an item alone has more tokens than a batch may have."""
    tokens = lengths.sum(1)
    item = int(tokens.argmax())
    if tokens[item] > max_tokens:
        what = f"a batch of {max_tokens} tokens cannot hold item {item}, which has {tokens[item]}"
        raise UserError(f"{what}; raise the tokens of a batch, or cut the items")


def least_items(lengths: Indices, batch: int | None, max_tokens: int | None, least: int | None) -> int:
    """The least size of a batch, checked: 2 * least - 1 items must fit, or a remainder might fit nowhere."""
    room = len(lengths) if batch is None else batch
    if max_tokens is not None:
        check_longest(lengths, max_tokens)
        room = min(room, max_tokens // max(int(lengths.max(0).sum()), 1))
    if least is None:
        return max(1, min(LEAST, (room + 1) // 2, len(lengths)))
    if not 1 <= least <= len(lengths):
        raise UserError(f"at least {least} items in a batch is not possible with {len(lengths)} items")
    if least > 1 and 2 * least - 1 > room:
        what = (
            f"at least {least} items in each batch needs room for {2 * least - 1} of the longest, not {room}"
        )
        raise UserError(f"{what}; raise the items or tokens of a batch")
    return least


def fill_batches(lengths: Indices, batch: int | None, max_tokens: int, least: int) -> list[int]:
    """Sizes of consecutive batches, each as large as the limits allow, none (if possible) below `least`."""
    sizes: list[int] = []
    count, at = len(lengths), 0
    while at < count:
        most = min(batch or count, count - at, max_tokens // max(int(lengths[at].sum()), 1))
        longest = np.maximum.accumulate(lengths[at : at + most], 0).sum(1)
        size = int(np.searchsorted(longest * np.arange(1, most + 1), max_tokens, "right"))
        left = count - at - size
        if 0 < left < least:  # leave enough for the last batch, or take all
            size = count - at - least if count - at >= 2 * least else count - at
        sizes.append(size)
        at += size
    return sizes
