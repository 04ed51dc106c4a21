"""What is said and counted while a pre-training goes on (ours)."""

from collections.abc import Callable
from typing import Any

import lightning as L
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from nonet.files import write_json
from nonet.runs import Run
from nonet.vision_language.pair_data import UnreadableImages

COST = "cost.json"  # in a run's folder


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
    """Counts the multiplications of training, forward and backward, those of the momentum model too.

    The first batch of each kind is counted, such as those with regions and those without. Each
    kind's share of the pairs then says what a pair takes in the mean. What torch's counter does not know,
    such as kernels of our own, is not in it.

    Args:
        run: in whose folder `cost.json` is written.
        kind: (batch, its number) to the kind's name.
    """

    def __init__(self, run: Run, kind: Callable[[Any, int], str]) -> None:
        self.run, self.kind = run, kind
        self._gmac: dict[str, float] = {}
        self._pairs: dict[str, int] = {}
        self._counter: _Operations | None = None

    def state_dict(self) -> dict[str, Any]:
        """What was counted, for a run that is resumed."""
        return {"gmac": dict(self._gmac), "pairs": dict(self._pairs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it."""
        self._gmac, self._pairs = dict(state["gmac"]), dict(state["pairs"])

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin to count, in the first batch of a kind."""
        kind = self.kind(batch, batch_idx)
        self._pairs[kind] = self._pairs.get(kind, 0) + len(batch["images"])
        if trainer.is_global_zero and kind not in self._gmac:
            self._counter = _Operations(kind)
            self._counter.__enter__()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note what was counted."""
        counter = self._stop()
        if counter is not None:
            self._gmac[counter.kind] = counter.total / 2e9 / len(batch["images"])

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write it."""
        if trainer.is_global_zero and self._pairs:
            mean = sum(self._gmac[kind] * count for kind, count in self._pairs.items())
            found = {"gmac_per_pair": mean / sum(self._pairs.values()), "devices": trainer.world_size}
            kinds = {
                kind: {"gmac_per_pair": self._gmac[kind], "share": count / sum(self._pairs.values())}
                for kind, count in self._pairs.items()
            }
            write_json(self.run.folder / COST, found | {"kinds": kinds})

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        """Stop counting."""
        self._stop()

    def _stop(self) -> "_Operations | None":
        counter, self._counter = self._counter, None
        if counter is not None:
            counter.__exit__(None, None, None)
        return counter


class _Operations(TorchDispatchMode):  # type: ignore[misc]
    """Adds up operations by torch's own formulas; unlike its counter it leaves modules and kernels alone."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.total = kind, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += int(count(*args, **(kwargs or {}), out_val=out))
        return out
