"""Batches of several data sets, each of one data set only (PPT's rule; PonderV2's MultiDatasetDataLoader).

Norms and class names belong to a data set, hence a batch must not mix them. Data sets take turns as ratios
say: with 4 : 2 : 1 there are four batches of the first, two of the second, one of the third, and so on.
Where a step accumulates several batches, each of them stands for that many, so that a step is of one data
set, too.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from nonet.data.batch_sizes import Indices
from nonet.data.batching import Batches, Pair, generator
from nonet.errors import UserError

TURNS = 1 << 12  # times that an item may come up in one epoch: numbers its draws apart


class MixedScenes:
    """Several data sets one after the other; `self[(epoch, index)]` is an item of one of them.

    An item that comes up several times in an epoch is drawn anew each time: `MixedBatches` adds the length of
    the whole to its index once for each time before.

    Args:
        datasets: each with `len` and `dataset[(epoch, index)]`.
    """

    def __init__(self, datasets: Sequence[Any]) -> None:
        if not datasets:
            raise ValueError("no data set to mix")
        self.datasets = list(datasets)
        self.starts = [0, *accumulate(len(dataset) for dataset in datasets)]

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, item: Pair) -> Any:
        epoch, index = item
        turn, index = divmod(index, len(self))
        place = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.datasets[place][(epoch * TURNS + turn, index - self.starts[place])]


class MixedBatches(Batches):
    """Batches for `MixedScenes`, each of one data set.

    An epoch is as long as the first data set takes, rounded up to whole turns. The others go on where the
    epoch before left them, so that in the long run all items of a data set come up equally often.

    Args:
        counts: items of each data set.
        batch: items in a batch at most, over all ranks; a smaller data set has smaller batches.
        seed: decides the order, together with the epoch.
        ratios: batches of each data set in a turn; one of each by default.
        accumulate: batches of a step: of several data sets, so many times as many make up a turn.

    Raises:
        UserError: a data set is empty, ratios do not fit the data sets, or an item would come up more than
            `TURNS` times in an epoch.
    """

    def __init__(
        self, counts: Sequence[int], batch: int, seed: int, ratios: Sequence[int] = (), *, accumulate: int = 1
    ) -> None:
        self.counts, self.batch, self.seed = tuple(counts), batch, seed
        self.ratios = tuple(ratios) or (1,) * len(self.counts)
        if not self.counts or min(self.counts) < 1 or batch < 1:
            raise UserError(f"data sets of {list(self.counts)} scenes in batches of {batch}: one is empty")
        if len(self.ratios) != len(self.counts) or min(self.ratios) < 1:
            raise UserError(
                f"ratios are {', '.join(map(str, self.ratios))} for {len(self.counts)} data sets: give one "
                "whole number from 1 for each"
            )
        if len(self.counts) > 1:
            self.ratios = tuple(ratio * accumulate for ratio in self.ratios)
        self._passes = [-(-count // batch) for count in self.counts]  # batches of a pass through each
        self._cycles = -(-self._passes[0] // self.ratios[0])
        for place, (passes, ratio) in enumerate(zip(self._passes, self.ratios, strict=True)):
            turns = -(-(passes - 1 + self._cycles * ratio) // passes)  # of an epoch that begins within a pass
            if turns > TURNS:
                raise UserError(
                    f"data set {place + 1} of {len(self.counts)}, {self.counts[place]:,} scenes, would come "
                    f"up {turns:,} times in an epoch, and {TURNS:,} is the most: lower its ratio or "
                    "trainer.accumulate, raise the ratio of data set 1 or batch, or give more scenes of it"
                )

    def check_processes(self, processes: int) -> None:
        """Make sure before a run that each of so many processes gets an item of every batch.

        Raises:
            UserError: a data set has batches that are too small.
        """
        for place, (count, passes) in enumerate(zip(self.counts, self._passes, strict=True)):
            if (least := count // passes) < processes:
                raise UserError(
                    f"data set {place + 1} of {len(self.counts)}, {count:,} scenes, has batches of {least} "
                    f"for {processes} processes: use fewer devices, raise batch, or give more scenes of it"
                )

    def steps(self, epoch: int) -> int:
        """Batches of an epoch, the same for all."""
        return self._cycles * sum(self.ratios)

    @property
    def each_pass(self) -> float:
        """Batches of all data sets while the first one comes up once: an epoch, not rounded up to turns."""
        return self._passes[0] * sum(self.ratios) / self.ratios[0]

    def epoch(self, epoch: int) -> list[Indices]:
        """The batches of that epoch: item numbers of `MixedScenes`."""
        streams = [self._stream(place, epoch) for place in range(len(self.counts))]
        found: list[Indices] = []
        for cycle in range(self._cycles):
            for stream, ratio in zip(streams, self.ratios, strict=True):
                found += stream[cycle * ratio : (cycle + 1) * ratio]
        return found

    def _stream(self, place: int, epoch: int) -> list[Indices]:
        """The batches of one data set in that epoch."""
        count, total = self._cycles * self.ratios[place], sum(self.counts)
        first, start = divmod(epoch * count, self._passes[place])
        found: list[Indices] = []
        number = first
        while len(found) < start + count:
            order = generator(self.seed, "mixed", place, number).permutation(self.counts[place])
            base = sum(self.counts[:place]) + (number - first) * total
            found += [part + base for part in np.array_split(order, self._passes[place])]
            number += 1
        return found[start : start + count]


def batches_of_pass(batches: Batches) -> float:
    """How many batches take one pass over what is learned from; over the first data set of several."""
    return batches.each_pass if isinstance(batches, MixedBatches) else batches.steps(0)


class OrderedMixed(Batches):
    """The items of several data sets in their order, each batch of one data set: for validation and scores.

    Args:
        counts: items of each data set.
        batch: items in a batch at most.

    Raises:
        UserError: a data set is empty.
    """

    def __init__(self, counts: Sequence[int], batch: int) -> None:
        if not counts or min(counts) < 1 or batch < 1:
            raise UserError(f"data sets of {list(counts)} scenes in batches of {batch}: one is empty")
        starts = [0, *accumulate(counts)]
        self._batches = [
            part + start
            for start, count in zip(starts, counts, strict=False)
            for part in np.array_split(np.arange(count), -(-count // batch))
        ]

    def epoch(self, epoch: int) -> list[Indices]:
        """The batches, the same for every epoch."""
        return list(self._batches)
