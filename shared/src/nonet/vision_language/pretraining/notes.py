"""What is said and counted while a pre-training goes on (ours)."""

from typing import Any

import lightning as L
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from nonet.files import write_json
from nonet.runs import Run
from nonet.vision_language.pair_data import UnreadableImages

COST = "cost.json"  # in a run's folder
COUNTED = 1  # the step whose operations are counted; in step 0 no image is mixed yet


class PairNotes(L.Callback):  # type: ignore[misc]
    """Says which images cannot be read, and ends a run with too many of them; counts what is left of regions.

    Args:
        run: says it.
        count: images of the data set.
        limit: share of them that may be unreadable.
    """

    def __init__(self, run: Run, count: int, limit: float) -> None:
        self.run, self.unreadable = run, UnreadableImages(count, limit, run.say)
        self.outside = self.truncated = self.texts = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a batch's notes.

        Raises:
            RunFailed: too many images cannot be read.
        """
        self.unreadable(batch)
        regions = batch.get("regions") or batch
        self.outside += regions.get("outside", 0)
        self.truncated += regions.get("truncated", 0)
        self.texts += len(regions["masks"]) if "masks" in regions else 0

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Say what became of regions, as counted by this process."""
        if self.outside or self.truncated:
            self.run.say(
                f"regions: of {self.texts:,} texts {self.truncated:,} were cut off at their most word pieces "
                f"(max_length); {self.outside:,} times a region was left out, as it lies outside of its image"
            )


class StepCost(L.Callback):  # type: ignore[misc]
    """Counts the multiplications of one batch, forward and backward, those of the momentum model too.

    What torch's counter does not know, such as kernels of our own, is not in it.

    Args:
        run: in whose folder `cost.json` is written.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._counter: _Operations | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin to count, in one batch of a run."""
        first = not batch_idx % trainer.accumulate_grad_batches
        if trainer.is_global_zero and trainer.global_step == COUNTED and first:
            self._counter = _Operations()
            self._counter.__enter__()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write what was counted."""
        counter, self._counter = self._counter, None
        if counter is not None:
            counter.__exit__(None, None, None)
            pairs = len(batch["images"])
            found = {"gmac_per_pair": counter.total / 2e9 / pairs, "devices": trainer.world_size}
            write_json(self.run.folder / COST, found)

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        """Stop counting."""
        counter, self._counter = self._counter, None
        if counter is not None:
            counter.__exit__(None, None, None)


class _Operations(TorchDispatchMode):  # type: ignore[misc]
    """Adds up operations by torch's own formulas; unlike its counter it leaves modules and kernels alone."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += int(count(*args, **(kwargs or {}), out_val=out))
        return out
