"""Batches as pure functions of (seed, epoch), and the sampler that walks through them (ours).

`Batches` say which items of a data set make up each batch of an epoch; `StepSampler` numbers the batches of
all epochs 0, 1, 2, ... and gives one rank its share of each. The number of the next batch is the whole state:
a run that begins at batch k sees what an undisturbed run sees from batch k on, with any number of workers.
"""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nonet.data.batch_sizes import Indices, as_sides, check_longest, check_sizes, fill_batches, least_items
from nonet.errors import UserError

Pair = tuple[int, int]  # (epoch, index of an item)

WINDOW_BATCHES = 64  # batches that a window of `BucketedBatches` holds unless told otherwise


def generator(seed: int, *keys: int | str) -> np.random.Generator:
    """Random numbers that depend on nothing but the arguments: `generator(seed, "noise", epoch, index)`.

    Args:
        seed: the run's seed, not negative.
        keys: what the numbers are for: names, and counts that are not negative.
    """
    words = [zlib.crc32(key.encode()) if isinstance(key, str) else key for key in keys]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=words)))


class Batches(ABC):
    """The batches of every epoch. Each item is in exactly one batch of an epoch."""

    @abstractmethod
    def epoch(self, epoch: int) -> list[Indices]:
        """The batches of epoch 0, 1, ... in order: int64 arrays of item numbers."""

    def steps(self, epoch: int) -> int:
        """How many batches that epoch has."""
        return len(self.epoch(epoch))


class RandomBatches(Batches):
    """A fresh random order in each epoch, cut into batches of equal size.

    There are ceil(count / batch) batches. If `batch` does not divide `count`, some are one smaller, rather
    than the last one much smaller: 10 items in batches of 4 make 4, 3, 3.

    Args:
        count: items in the data set.
        batch: items in a batch, over all ranks.
        seed: decides the order, together with the epoch.
    """

    def __init__(self, count: int, batch: int, seed: int) -> None:
        check_sizes(count, batch, None)
        self.count, self.batch, self.seed = count, batch, seed

    def epoch(self, epoch: int) -> list[Indices]:
        """The batches of that epoch."""
        order = generator(self.seed, "batches", epoch).permutation(self.count)
        return np.array_split(order, self.steps(epoch))

    def steps(self, epoch: int) -> int:
        """ceil(count / batch), the same for every epoch."""
        return -(-self.count // self.batch)


class BucketedBatches(Batches):
    """Batches of items of similar length, in random order: little padding, yet other batches in each epoch.

    The random order of the epoch is cut into windows; each window is sorted by length and cut into batches;
    the batches of all windows are shuffled.

    Args:
        lengths: (items,) tokens of each item; or (items, sides), the tokens of its encoder input and decoder
            target, say, which are padded apart.
        batch: items in a batch at most, over all ranks.
        max_tokens: tokens of a padded batch at most: items times the longest, summed over the sides.
        seed: decides the order, together with the epoch.
        window: items sorted together; by default `WINDOW_BATCHES` times those of an average batch. More means
            less padding, and batches that are less random.
        least: items in a batch at least, so that each of that many ranks gets one. By default 8, or as
            many as the limits can promise. It does not depend on the number of ranks: nor do the batches.

    Raises:
        UserError: neither `batch` nor `max_tokens` is given, or they are too small for the longest item or
            for `least`.
    """

    def __init__(
        self,
        lengths: ArrayLike,
        *,
        batch: int | None = None,
        max_tokens: int | None = None,
        seed: int,
        window: int | None = None,
        least: int | None = None,
    ) -> None:
        self.lengths = as_sides(lengths)
        count = len(self.lengths)
        check_sizes(count, batch, max_tokens)
        self.batch, self.max_tokens, self.seed = batch, max_tokens, seed
        self.least = least_items(self.lengths, batch, max_tokens, least)
        if window is not None and window < 1:
            raise UserError(f"a window of {window} items is not possible; the number must be positive")
        if window is None:
            by_tokens = max_tokens * count // max(int(self.lengths.sum()), 1) if max_tokens else count
            window = WINDOW_BATCHES * min(batch or count, by_tokens)
        self.window = min(count, max(window, 2 * self.least))

    def epoch(self, epoch: int) -> list[Indices]:
        """The batches of that epoch."""
        random = generator(self.seed, "batches", epoch)
        order = random.permutation(len(self.lengths))
        found: list[Indices] = []
        for items in np.array_split(order, self._windows()):
            longest_first = np.argsort(
                -self.lengths[items].sum(1), kind="stable"
            )  # ties stay in random order
            items = items[longest_first]
            if self.max_tokens is None:
                found += np.array_split(items, -(-len(items) // (self.batch or 1)))
            else:
                sizes = fill_batches(self.lengths[items], self.batch, self.max_tokens, self.least)
                found += np.split(items, np.cumsum(sizes)[:-1])
        return [found[i] for i in random.permutation(len(found))]

    def steps(self, epoch: int) -> int:
        """How many batches that epoch has; with `max_tokens` it differs a little from epoch to epoch."""
        if self.max_tokens is not None or not self.batch:
            return len(self.epoch(epoch))
        windows, count = self._windows(), len(self.lengths)
        larger = count % windows  # array_split gives these one item more
        small = count // windows
        return larger * -(-(small + 1) // self.batch) + (windows - larger) * -(-small // self.batch)

    def _windows(self) -> int:
        return -(-len(self.lengths) // self.window)


class OrderedBatches(Batches):
    """The items in their own order, the same in every epoch: for validation and prediction.

    Args:
        items: how many items there are, or their lengths as in `BucketedBatches`.
        batch: items in a batch at most; the batches are of equal size, some one smaller.
        max_tokens: tokens of a padded batch at most; needs lengths.
        by_length: longest first instead, which saves padding and meets a lack of memory at once. The caller
            puts results back by the item numbers.

    Raises:
        UserError: neither `batch` nor `max_tokens` is given, or an item is longer than `max_tokens`.
    """

    def __init__(
        self,
        items: int | ArrayLike,
        batch: int | None = None,
        *,
        max_tokens: int | None = None,
        by_length: bool = False,
    ) -> None:
        if isinstance(items, int | np.integer):
            if max_tokens is not None or by_length:
                raise ValueError("max_tokens and by_length need the lengths of the items, not their number")
            items = np.zeros(int(items), np.int64)
        lengths = as_sides(items)
        count = len(lengths)
        check_sizes(count, batch, max_tokens)
        order = np.argsort(-lengths.sum(1), kind="stable") if by_length else np.arange(count)
        if max_tokens is None:
            self._batches = np.array_split(order, -(-count // (batch or 1)))
        else:
            check_longest(lengths, max_tokens)
            sizes = fill_batches(lengths[order], batch, max_tokens, 1)
            self._batches = np.split(order, np.cumsum(sizes)[:-1])

    def epoch(self, epoch: int) -> list[Indices]:
        """The batches, the same for every epoch."""
        return list(self._batches)


class StepSampler:
    """One rank's share of batch `start`, `start` + 1, ... of all epochs one after the other.

    Use it as a `batch_sampler`: it yields lists of (epoch, index), and the data set's item is a function of
    that pair, so that each epoch may draw its own masks and crops. Rank r of w takes items r, r + w, ... of a
    batch.

    Args:
        batches: the batches of each epoch.
        start: number of the first batch to yield, counted over all epochs: the whole state of a run.
        steps: how many batches to yield; None never ends.
        rank: this process among `world`.
        world: processes that share a batch.

    Raises:
        UserError: while iterating, a batch has fewer items than `world`.
    """

    def __init__(
        self, batches: Batches, *, start: int = 0, steps: int | None = None, rank: int = 0, world: int = 1
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} is not one of {world}")
        if start < 0 or (steps is not None and steps < 0):
            raise ValueError(f"start {start} and steps {steps} must not be negative")
        self.batches, self.start, self.steps, self.rank, self.world = batches, start, steps, rank, world

    def __len__(self) -> int:
        """`steps`; a sampler that never ends has no length (TypeError), as DataLoader expects."""
        if self.steps is None:
            raise TypeError("a sampler without steps never ends")
        return self.steps

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[list[Pair]]:
        """Begin at `start`, each time."""
        left = self.steps
        epoch, skip = self.place(self.start)
        while left is None or left > 0:
            end = None if left is None else skip + left
            for number, items in enumerate(self.batches.epoch(epoch)[skip:end], skip):
                if len(items) < self.world:
                    remedy = (
                        "lower the number of processes or raise the batch size (or the tokens of a batch)"
                    )
                    what = (
                        f"batch {number} of epoch {epoch} has {len(items)} items for {self.world} processes"
                    )
                    raise UserError(f"{what}; {remedy}")
                yield [(epoch, int(item)) for item in items[self.rank :: self.world]]
                left = None if left is None else left - 1
            epoch, skip = epoch + 1, 0

    def place(self, number: int) -> Pair:
        """The epoch of batch `number`, and its number within that epoch."""
        epoch = 0
        while number >= (steps := self.batches.steps(epoch)):
            number -= steps
            epoch += 1
        return epoch, number


def loader(
    dataset: Any,
    sampler: StepSampler,
    collate: Callable[[list[Any]], Any],
    *,
    workers: int = 0,
    pin: bool = False,
) -> Any:
    """A DataLoader that gives the same batches for any number of workers and leaves torch's global RNG alone.

    Args:
        dataset: `dataset[(epoch, index)]` is an item.
        sampler: which items make up which batch.
        collate: a list of items to a batch.
        workers: processes that prepare batches; 0 does it in this one.
        pin: copy batches into page-locked memory, for a GPU.

    Returns:
        A `torch.utils.data.DataLoader`.
    """
    import torch
    from torch.utils.data import DataLoader

    own = torch.Generator()
    own.manual_seed(0)  # numbers the workers' seeds; items take their randomness from (seed, epoch, index)
    return DataLoader(
        dataset, batch_sampler=sampler, collate_fn=collate, num_workers=workers, pin_memory=pin, generator=own
    )
