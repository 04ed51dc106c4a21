"""What a detector learns from and is measured on: regions by number, whole images in order (ours)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from nonet.data.batching import OrderedBatches, Pair, RandomBatches, StepSampler, generator
from nonet.errors import UserError
from nonet.training.data import StepData
from nonet.vision_language.region_data import RegionBatches
from nonet.vision_language.region_files import RegionTable
from nonet.vision_language.region_samples import RegionItem
from nonet.vision_language.whole_regions import WholeCollate, WholeRegions

MakeRegions = Callable[[int, int], RegionBatches]
"""(rank, processes) to batches of regions by number"""


class RegionData(StepData):
    """Training batches of regions, of an exact number of texts each, and whole images to validate on.

    Args:
        table: the regions, which tell one run's data from another's.
        make: batches of them for a process.
        size: regions of a batch, over all processes.
        seed: of the run.
        whole: images to validate on; None: none.
        whole_batch: of them at a time.
        collate: of them.
        workers, steps, accumulate: as of `StepData`.
    """

    def __init__(
        self, table: RegionTable, make: MakeRegions, *, size: int, seed: int, whole: WholeRegions | None,
        whole_batch: int, collate: WholeCollate, workers: int = 0, steps: int | None = None,
        accumulate: int | None = None,
    ) -> None:  # fmt: skip
        held = () if whole is None else (whole, OrderedBatches(len(whole), whole_batch))
        super().__init__(
            table, RandomBatches(len(table), min(size, len(table)), seed), _the_one, *held,
            val_collate=_WholeImages(collate), workers=workers, steps=steps, accumulate=accumulate,
        )  # fmt: skip
        self.make = make

    def train_dataloader(self) -> Any:
        """Batches from the trainer's step on, for ever."""
        trainer = self._trainer()
        start = trainer.global_step * trainer.accumulate_grad_batches
        regions = _ByNumber(self.make(trainer.global_rank, trainer.world_size))
        return self._loader(regions, _Numbers(self.train_batches, start=start), self.collate, self.workers)

    def indices(self, batch: int) -> list[Pair]:
        """The number of a batch, as regions are drawn by it."""
        return [(batch, 0)]


def held_out(table: RegionTable, size: int, seed: int) -> tuple[RegionTable, RegionTable | None]:
    """Keep some images out, with all of their records.

    Args:
        table: the regions.
        size: images to keep out, at most a tenth.
        seed: which ones.

    Returns:
        What is left, and what is kept out; None if that is nothing.
    """
    images, numbers = np.unique(_images(table), return_inverse=True)
    count = min(size, len(images) // 10)
    if not count:
        return table, None
    chosen = generator(seed, "held-out regions").permutation(len(images))[:count]
    held = np.isin(numbers, chosen)
    return table.take(np.flatnonzero(~held)), table.take(np.flatnonzero(held))


def refuse_shared(train: RegionTable, val: RegionTable) -> None:
    """Refuse to measure on images that were learnt from.

    Raises:
        UserError: an image is in both; the text has one.
    """
    known = {key: row for row, key in enumerate(_images(train))}
    for row, key in enumerate(_images(val)):
        if key in known:
            raise UserError(
                f"{val.places[row]}: this image of the validation data is in the training data, too "
                f"({train.places[known[key]]})"
            )


def _images(table: RegionTable) -> list[str]:
    """What tells the image of each row from others."""
    return [f"{table.files[row]}:{table.spans[row, 0]}" for row in range(len(table))]


class _ByNumber:
    """Batches of regions as items: the index is left aside."""

    def __init__(self, batches: RegionBatches) -> None:
        self.batches = batches

    def __getitem__(self, visit: Pair) -> dict[str, Any]:
        return self.batches[visit[0]]


class _Numbers(StepSampler):
    """The numbers of batches from `start` on."""

    def __iter__(self) -> Iterator[list[Pair]]:
        number = self.start
        while True:
            yield [(number, 0)]
            number += 1


def _the_one(items: list[Any]) -> Any:
    """The only item."""
    return items[0]


class _WholeImages:
    """Whole images to a batch; without any that can be used it has `unreadable` alone."""

    def __init__(self, collate: WholeCollate) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[RegionItem | str]) -> dict[str, Any]:
        found = self.collate(items)
        return {"unreadable": [item for item in items if isinstance(item, str)]} if found is None else found
