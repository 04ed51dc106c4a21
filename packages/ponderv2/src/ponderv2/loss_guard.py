"""Ends a run at the first loss or gradient that is not finite, keeps the state before it, names its source.

Source: ours. NaN is what users of the released code report most, and it does not say where from. Losses are
looked at before they are propagated, gradients before weights move: weights, running statistics and the
optimiser are then still those of the step before, which is saved.
"""

import json
from collections.abc import Mapping
from typing import Any, Protocol

import lightning as L
import torch
from torch import Tensor

from nonet.errors import RunFailed
from nonet.files import write_text
from nonet.runs import Run
from nonet.training.callbacks import any_rank, last_good
from ponderv2.all_processes import gathered


class Guarded(Protocol):
    """What a module needs to be guarded."""

    terms: Mapping[str, Tensor]
    """the parts of the loss of the step under way, by name"""

    def suspects(self) -> tuple[str, ...]:
        """Names of the scenes of the step under way that hold what is not finite; all, if none stands out."""


class LossGuard(L.Callback):  # type: ignore[misc]
    """Looks at each step's losses and gradients.

    A callback of `build_trainer`; the module is a `Guarded`.

    Args:
        run: whose nonfinite.json is written.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._buffers: dict[str, Tensor] = {}

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the running statistics, which the forward pass will change."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._buffers = {name: value.clone() for name, value in module.named_buffers()}

    def on_before_backward(self, trainer: L.Trainer, module: L.LightningModule, loss: Tensor) -> None:
        """Look at the parts of the loss.

        Raises:
            RunFailed: one is not finite, on any process.
        """
        terms = {"loss": loss, **module.terms}
        finite = torch.stack([value.detach().float().reshape(()) for value in terms.values()]).isfinite()
        bad = [name for name, fine in zip(terms, finite.tolist(), strict=True) if not fine]
        if any_rank(trainer, bool(bad)):
            parts = [name for name in bad if name != "loss"] or bad
            self._stop(trainer, module, "loss term", parts if bad else [])

    def on_before_optimizer_step(
        self, trainer: L.Trainer, module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Look at the gradients.

        Raises:
            RunFailed: one is not finite although the loss is.
        """
        named = [(name, weight.grad) for name, weight in module.named_parameters() if weight.grad is not None]
        if not named:
            return
        sums = torch.stack([grad.detach().float().abs().sum() for _, grad in named])
        bad: list[str] = []
        if not bool(sums.isfinite().all()):
            bad = [name for name, grad in named if not bool(grad.isfinite().all())]
        if any_rank(trainer, bool(bad)):
            self._stop(trainer, module, "gradient of", bad[:3])

    def _stop(self, trainer: L.Trainer, module: L.LightningModule, kind: str, names: list[str]) -> None:
        mine = {"names": names, "scenes": list(module.suspects()) if names else []}
        found = [each for each in gathered(mine) if each["names"]]
        parts = list(dict.fromkeys(name for each in found for name in each["names"]))
        scenes = list(dict.fromkeys(name for each in found for name in each["scenes"]))
        step = trainer.global_step + 1
        own = dict(module.named_buffers())
        for name, value in self._buffers.items():
            own[name].copy_(value)
        module.zero_grad(set_to_none=True)
        if trainer.global_step:
            trainer.checkpoints.save(trainer)
        path = self.run.folder / "nonfinite.json"
        if trainer.is_global_zero:
            facts = {"step": step, kind: parts, "scenes": scenes}
            write_text(path, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        raise RunFailed(
            f"step {step}: {kind} {', '.join(parts)} is not finite, at scene {', '.join(scenes)} ({path}); "
            f"{last_good(self.run)}: lower the rate, set trainer.clip, use fp32, or look at the scene"
        )


def suspects(batch: Any, rendered: Any = None) -> tuple[str, ...]:
    """The scenes of a batch whose input is not finite, else those whose rendering is not, else all.

    Args:
        batch: with `names`; voxels with `cells` and `features`, rays (B, ...) where there are any.
        rendered: a named tuple or dataclass of tensors (B, ...), or None.
    """
    names = tuple(batch.names)
    bad = torch.zeros(len(names), dtype=torch.bool)
    features, cells = getattr(batch, "features", None), getattr(batch, "cells", None)
    if isinstance(features, Tensor) and isinstance(cells, Tensor):
        odd = ~features.detach().isfinite().all(1)
        bad[cells[odd, 0].unique().cpu()] = True
    for found in (getattr(batch, "rays", None), None if bad.any() else rendered):
        for value in _tensors(found):
            if value.is_floating_point() and len(value) == len(names) and value.dim():
                bad |= ~value.detach().isfinite().flatten(1).all(1).cpu() if value.dim() > 1 else False
        if bad.any():
            break
    return tuple(name for name, odd in zip(names, bad.tolist(), strict=True) if odd) or names


def _tensors(found: Any) -> list[Tensor]:
    if found is None:
        return []
    values = found if isinstance(found, tuple) else vars(found).values()
    return [value for value in values if isinstance(value, Tensor)]
