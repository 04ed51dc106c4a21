"""Pruning of heads and neurons in steps of growing sparsity, each with a training (Xu et al. 2022).

For each target: score the units by the complete training loss, choose those that stay, put the model's
representations into a bank (before the first cut as those of the pre-trained model, later as a snapshot),
remove the units, train, score the model, save the level. The student really shrinks, where the released code
masks: gradients of what is left are the same, and each level's steps are faster than those before.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cap_prune.architectures import units_of
from cap_prune.banks import Banks
from cap_prune.chosen_units import Chosen, read_chosen, write_chosen
from cap_prune.distillation import data_key
from cap_prune.evaluating import plain_batches
from cap_prune.examples import Examples, collate
from cap_prune.importance import importance
from cap_prune.levels import complete, save_level, step_name
from cap_prune.loading import load_model
from cap_prune.objective import Objective
from cap_prune.representations import encode
from cap_prune.selection import check_targets, choose
from cap_prune.slimming import slim
from cap_prune.training import PartOfRun, own_device, steps_of, train, train_batches
from nonet.runs import Run
from nonet.training.options import OptimizerOptions, TrainerOptions
from nonet.training.strategies import choose_accelerator, choose_precision

BANK_BATCH = 128


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a student is pruned and trained; see `commands.prune.Options`, whose fields these are."""

    targets: tuple[float, ...]
    """percents of the dense model's heads, and of its neurons, that are gone after each step"""
    method: str = "first-order"
    """a name in `criteria.CRITERIA`"""
    epochs: float = 2
    """passes over the examples at each step; 0: `trainer.steps` says how many steps"""
    batch: int = 32
    """examples a batch, over all devices"""
    bucket: bool = True
    """batches of similar lengths"""
    warmup_share: float = 0.1
    """share of each training's steps in which the rate rises"""
    importance_samples: int | None = None
    """examples that units are scored on; None: all"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(clip=1.0, validate_every=0, checkpoint_every=0)
    )
    """devices, precision, seed"""
    optimizer: OptimizerOptions = field(
        default_factory=lambda: OptimizerOptions(lr=5e-5, weight_decay=0.01, schedule="linear")
    )
    """optimiser, rate, schedule; fresh at each step"""


def prune(
    model: Any,
    tokenizer: Any,
    examples: Examples,
    objective: Objective,
    schedule: Schedule,
    *,
    run: Run,
    banks: Banks | None = None,
    score: Callable[[Any], dict[str, float]] | None = None,
    facts: Mapping[str, Any] | None = None,
    options: str = "",
) -> list[Path]:
    """Prune step by step; every level becomes a folder of the run; one that is there is not made again.

    Args:
        model: a supported encoder with a head, dense or slim; it is changed.
        tokenizer: saved with each level.
        examples: of the training side, tokenised.
        objective: the complete training loss; its contrast uses `banks`.
        schedule: targets, lengths, rates.
        run: where levels, checkpoints and numbers go.
        banks: tables that are filled on the way, with room for `len(targets) - 1` snapshots; None: none.
        score: the measures of a level's model; None: none.
        facts: more entries for each level's step.json, such as `task`, `kind`, `base`.
        options: of the run as YAML, for the cards.

    Returns:
        The levels' folders, in the order of the targets.

    Raises:
        UserError: targets that cannot be reached; a resumed run with another model, data or settings.
        RunFailed: a loss is not finite, or the disk is full; levels before are whole.
        KeyboardInterrupt: interrupted; the same call in the same run goes on.
    """
    check_targets(units_of(model), schedule.targets)
    folders = [run.folder / step_name(target) for target in schedule.targets]
    if all(map(complete, folders)):
        return folders
    level = _Levels(model, tokenizer, examples, objective, schedule, run, banks)
    for place, (target, folder) in enumerate(zip(schedule.targets, folders, strict=True)):
        if complete(folder):
            level.fill_bank(place)
            level.take_over(folder, place)
            continue
        started = time.monotonic()
        chosen = level.choice(place, target)
        level.fill_bank(place)
        slim(level.model, chosen.units)
        level.train(place, target)
        metrics = score(level.model) if score is not None else {}
        found = _facts(target, schedule, chosen, metrics) | dict(facts or {})
        run.say(_account(found, time.monotonic() - started))
        if run.writes:
            run.log(level.first, percent=target, **{f"dev/{name}": value for name, value in metrics.items()})
            save_level(folder, level.model, tokenizer, found, options=options)
            shutil.rmtree(level.part(place, target).checkpoints, ignore_errors=True)
    return folders


class _Levels:
    """What goes from one level to the next: the student, its banks, and the count of steps."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        examples: Examples,
        objective: Objective,
        schedule: Schedule,
        run: Run,
        banks: Banks | None,
    ) -> None:
        self.model, self.pad_id, self.examples, self.objective = (
            model,
            tokenizer.pad_token_id,
            examples,
            objective,
        )
        self.schedule, self.run, self.banks = schedule, run, banks
        self.accelerator = choose_accelerator(schedule.trainer)
        self.device = own_device(self.accelerator)
        self.first = 0
        self._source = _source(model, examples)

    def part(self, place: int, target: float) -> PartOfRun:
        """The level's training within the run."""
        return PartOfRun(self.run, step_name(target), self.first)

    def choice(self, place: int, target: float) -> Chosen:
        """The units that stay: those that an interrupted session chose, or by their scores now."""
        folder = self.run.checkpoints / step_name(target)
        kept = read_chosen(folder, self._source)
        chosen = _agreed(self._scored(target) if kept is None else kept)
        if kept is None and self.run.writes:
            write_chosen(folder, chosen)
        return chosen

    def _scored(self, target: float) -> Chosen:
        """The units that stay by their scores."""
        plan = self.schedule
        self.model.to(self.device)
        found = importance(
            self.model, self.examples, self.objective, plan.method, pad_id=self.pad_id, batch=plan.batch,
            samples=plan.importance_samples, bucket=plan.bucket, seed=plan.trainer.seed, first=self.first,
            bf16=choose_precision(plan.trainer, self.accelerator) == "bf16-mixed",
        )  # fmt: skip
        units = choose(found.scores, units_of(self.model), target)
        return Chosen(units, found.agreement, self._source)

    def fill_bank(self, place: int) -> None:
        """Put the representations of the model as it is now into a bank."""
        if self.banks is None:
            return
        self.model.to(self.device)
        batches = plain_batches(self.examples, self.pad_id, batch=BANK_BATCH, device=self.device)
        name = f"snap-{place}" if place else "pre"
        self.banks.fill(name, encode(self.model, batches, self.objective.align))

    def train(self, place: int, target: float) -> None:
        """One level's training; its order of examples and its dropout are its own."""
        plan = self.schedule
        self.first += train(
            self.model.to("cpu"), self.examples, partial(collate, pad_id=self.pad_id), self.objective,
            run=self.part(place, target), batch=plan.batch, epochs=plan.epochs,
            trainer=replace(plan.trainer, seed=plan.trainer.seed + place), optimizer=plan.optimizer,
            warmup_share=plan.warmup_share, bucket=plan.bucket, first=self.first,
            state={"target": target, "units": _digest(units_of(self.model).to_dict())},
        )  # fmt: skip

    def take_over(self, folder: Path, place: int) -> None:
        """Go on from a level that is there."""
        self.model, _ = load_model(folder)
        plan = self.schedule
        batches = train_batches(
            self.examples.lengths, plan.batch, seed=plan.trainer.seed + place, bucket=plan.bucket
        )
        self.first += steps_of(batches, plan.epochs, plan.trainer)


def _facts(target: float, schedule: Schedule, chosen: Chosen, metrics: Mapping[str, float]) -> dict[str, Any]:
    units = chosen.units
    return {
        "percent": target,
        "method": schedule.method,
        "metrics": dict(metrics),
        "units": units.to_dict(),
        "live_heads": [len(layer) for layer in units.heads],
        "live_neurons": [len(layer) for layer in units.neurons],
        "importance_agreement": chosen.agreement,
    }


def _account(facts: Mapping[str, Any], seconds: float) -> str:
    measures = ", ".join(f"{name} {value:.4f}" for name, value in facts["metrics"].items())
    heads, neurons = facts["live_heads"], facts["live_neurons"]
    return (
        f"{facts['percent']:g} % pruned: {measures or 'not scored'}; {sum(heads)} heads "
        f"({' '.join(map(str, heads))}) and {sum(neurons):,} neurons live; {seconds:.0f} s"
    )


def _source(model: Any, examples: Examples) -> str:
    """What tells a model and its examples from others."""
    digest = hashlib.sha256(data_key(examples.ids, examples.types).encode())
    if examples.labels is not None:
        digest.update(examples.labels.tobytes())
    for name, value in model.state_dict().items():
        digest.update(
            name.encode() + value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()[:16]


def _agreed(chosen: Chosen) -> Chosen:
    """The choice of the first of several processes, so that none cuts other units for a rounding."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return chosen
    box = [chosen]
    torch.distributed.broadcast_object_list(box)
    return box[0]


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]
