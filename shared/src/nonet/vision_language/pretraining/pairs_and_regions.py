"""Batches of pre-training: pairs of a pass through them, and beside them regions (ours).

Regions have passes of their own, so a batch of them follows from the number of the batch of pairs alone, over
all passes: a run that is resumed goes on with the same ones.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nonet.data.batching import Pair, StepSampler, generator
from nonet.training.data import StepData
from nonet.vision_language.pair_data import PairCollate, PairDataset

REGIONS = -1  # index of the item that is a batch of regions; its epoch is the number of the batch

MakeRegions = Callable[[int, int], Any]
"""(rank, processes) to what gives a batch of regions by number, such as `RegionBatches`"""


class PairsAndRegions:
    """The visits of pairs, and behind the index `REGIONS` a batch of regions by its number.

    Args:
        pairs: the visits.
        share: of the batches that have regions.
        seed: which ones.

    Attributes:
        regions: batches of regions by number; None: there are none.
    """

    def __init__(self, pairs: PairDataset, *, share: float = 1.0, seed: int = 0) -> None:
        self.pairs, self.share, self.seed = pairs, share, seed
        self.regions: Any = None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, visit: Pair) -> Any:
        number, index = visit
        if index != REGIONS:
            return self.pairs[visit]
        if self.regions is None or generator(self.seed, "has regions", number).random() >= self.share:
            return None
        return self.regions[number]


class PairRegionCollate:
    """Pairs, and the batch of regions behind them, to one batch: that of `PairCollate`, with `regions`.

    Args:
        pairs: makes a batch of pairs.
    """

    def __init__(self, pairs: PairCollate) -> None:
        self.pairs = pairs

    def __call__(self, items: Sequence[Any]) -> dict[str, Any]:
        """The batch; `regions` is missing where there are none."""
        batch = self.pairs(items[:-1])
        regions = items[-1]
        if regions is not None:
            batch["regions"] = regions
            batch["unreadable"] = [*batch["unreadable"], *regions["unreadable"]]
        return batch


class PairRegionData(StepData):
    """Training data of pairs and regions, validation data of pairs.

    Args:
        train_dataset: pairs and regions.
        train_batches: of pairs.
        collate: makes both to a batch.
        regions: makes batches of regions for a process; None: there are none.
        val_dataset, val_batches, val_collate, workers, steps, accumulate: as of `StepData`.
    """

    def __init__(
        self, train_dataset: PairsAndRegions, train_batches: Any, collate: PairRegionCollate, *val: Any,
        regions: MakeRegions | None = None, val_collate: Callable[[list[Any]], Any] | None = None,
        workers: int = 0, steps: int | None = None, accumulate: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            train_dataset, train_batches, collate, *val, val_collate=val_collate, workers=workers,
            steps=steps, accumulate=accumulate,
        )  # fmt: skip
        self.regions = regions

    def train_dataloader(self) -> Any:
        """Batches from the trainer's step on, for ever."""
        trainer = self._trainer()
        start = trainer.global_step * trainer.accumulate_grad_batches
        if self.regions is not None:
            self.train_dataset.regions = self.regions(trainer.global_rank, trainer.world_size)
        sampler = NumberedBatches(
            self.train_batches, start=start, rank=trainer.global_rank, world=trainer.world_size
        )
        return self._loader(self.train_dataset, sampler, self.collate, self.workers)


class NumberedBatches(StepSampler):
    """Each process's share of a batch, and behind it the item of that batch's regions."""

    def __iter__(self) -> Iterator[list[Pair]]:
        """Begin at `start`, each time."""
        for number, share in enumerate(super().__iter__(), self.start):
            yield [*share, (number, REGIONS)]
