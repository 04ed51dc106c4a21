"""Pruning of single weights, patterns and blocks within one training (Xu et al. 2022, CAP-m and CAP-soft).

All weights are kept at first; then the density falls along a cubic curve, and stays at its end. After every
epoch the representations of the model as it is, masks and all, become a snapshot to contrast with; they are
encoded without dropout, where the released code leaves it on. A level is saved when the density passes it,
and the last one at the end. Levels are ordinary dense folders with zeros: any library loads them.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cap_prune.banks import Banks
from cap_prune.density import Cubic
from cap_prune.evaluating import plain_batches
from cap_prune.examples import Batch, Examples, collate
from cap_prune.levels import levels_of, read_facts
from cap_prune.magnitude_masks import Magnitude
from cap_prune.mask_options import MaskOptions
from cap_prune.mask_training import LevelSaver, MaskCallback, Snapshots
from cap_prune.masked_layers import Masking, install, layers_of
from cap_prune.movement import Movement
from cap_prune.objective import Objective
from cap_prune.patterns import uneven
from cap_prune.representations import encode
from cap_prune.soft_movement import SoftMovement
from cap_prune.training import PartOfRun, steps_of, train, train_batches
from cap_prune.wanda_masks import Wanda
from nonet.data.batching import generator
from nonet.runs import Run
from nonet.training.optimizers import build_optimizer
from nonet.training.options import OptimizerOptions, TrainerOptions
from nonet.training.strategies import choose_accelerator

BANK_BATCH = 128
OBSERVED = 512
"""examples whose inputs wanda measures"""


@dataclass(frozen=True, kw_only=True)
class MaskSchedule:
    """How a student is masked and trained."""

    method: str
    """one of `mask_options.METHODS`"""
    masks: MaskOptions
    """densities, patterns, shares of the steps"""
    epochs: float = 10
    """passes over the examples; 0: `trainer.steps` says how many steps"""
    batch: int = 32
    """examples a batch, over all devices"""
    bucket: bool = True
    """batches of similar lengths"""
    warmup_share: float = 0.1
    """share of the steps in which the rate rises"""
    trainer: TrainerOptions = field(default_factory=lambda: TrainerOptions(clip=1.0, validate_every=0))
    """devices, precision, seed"""
    optimizer: OptimizerOptions = field(default_factory=lambda: OptimizerOptions(lr=3e-5, schedule="linear"))
    """optimiser, rate and schedule of the weights; scores have `masks.score_lr` and never decay"""


def masking_of(method: str, masks: MaskOptions) -> Masking:
    """The way to decide which weights stay.

    Raises:
        UserError: the method cannot do what is asked for.
    """
    densities, pattern = masks.densities(method), masks.chosen_pattern
    if method == "soft-movement":
        return SoftMovement(threshold=masks.threshold, penalty=masks.penalty, every=masks.every)
    if method == "wanda":
        return Wanda(densities[-1], pattern=pattern, every=masks.every)
    kind = {"movement": Movement, "magnitude": Magnitude}[method]
    return kind(densities[-1], pattern=pattern, together=masks.together, every=masks.every)


def lengths_of(examples: Examples, schedule: MaskSchedule) -> tuple[int, int]:
    """Optimiser steps of the training, and of an epoch."""
    trainer = schedule.trainer
    batches = train_batches(examples.lengths, schedule.batch, seed=trainer.seed, bucket=schedule.bucket)
    return steps_of(batches, schedule.epochs, trainer), max(1, batches.steps(0) // trainer.accumulate)


def snapshot_count(examples: Examples, schedule: MaskSchedule) -> int:
    """How many snapshots there will be: one after each epoch but the last."""
    steps, epoch = lengths_of(examples, schedule)
    return (steps - 1) // epoch


def prune_masked(
    model: Any,
    tokenizer: Any,
    examples: Examples,
    objective: Objective,
    schedule: MaskSchedule,
    *,
    run: Run,
    banks: Banks | None = None,
    score: Callable[[Any], dict[str, float]] | None = None,
    facts: Mapping[str, Any] | None = None,
    options: str = "",
) -> list[Path]:
    """Mask and train a model; every level becomes a folder of the run; one that is there is not made again.

    Args:
        model: a supported encoder with a head, dense or slim; it is changed, and masked afterwards.
        tokenizer: saved with each level.
        examples: of the training side, tokenised.
        objective: the complete training loss; its contrast uses `banks`.
        schedule: method, densities, lengths, rates.
        run: where levels, checkpoints and numbers go.
        banks: tables with room for `snapshot_count` snapshots; `pre` and snapshots are filled here.
        score: the measures of a level's model; None: none.
        facts: more entries for each level's step.json, such as `task`, `kind`, `base`.
        options: of the run as YAML, for the cards.

    Returns:
        The levels' folders, densest first.

    Raises:
        UserError: what the method cannot do; a resumed run with another model, data or settings.
        RunFailed: a loss is not finite, or the disk is full; levels before are whole.
        KeyboardInterrupt: interrupted; the same call in the same run goes on.
    """
    masking = masking_of(schedule.method, schedule.masks)
    if _finished(run):
        return levels_of(run.folder)
    pattern = schedule.masks.chosen_pattern
    bad = [] if pattern is None else uneven(model, pattern)
    if bad:
        run.say(
            f"pattern {pattern} does not divide every matrix ({bad[0]}, {len(bad)} in all): hardware that "
            "uses it gains nothing there"
        )
    steps, epoch = lengths_of(examples, schedule)
    masks = schedule.masks
    curve = Cubic.of_shares(
        masking.start, masking.final, steps=steps, before=masks.dense_share, after=masks.cool_share
    )
    device, pad = choose_accelerator(schedule.trainer), tokenizer.pad_token_id
    part = PartOfRun(run, "masks", 0)

    def encoded(which: Any) -> Iterator[tuple[Tensor, Tensor]]:
        where = next(which.parameters()).device
        return encode(which, plain_batches(examples, pad, batch=BANK_BATCH, device=where), objective.align)

    def observed(which: Any) -> Iterator[Batch]:
        chosen = _some(len(examples), schedule.trainer.seed)
        where = next(which.parameters()).device
        return plain_batches(examples, pad, batch=BANK_BATCH, device=where, order=chosen)

    model.to(device)
    if banks is not None and not banks.has("pre"):
        banks.fill("pre", encoded(model))
    install(model, learn=masking.learns, chosen=masking.chosen)
    masking.observe(model, observed(model))
    model.to("cpu")
    levels = LevelSaver(
        masking, masks.densities(schedule.method), tokenizer, run, score=score, options=options,
        facts={"method": schedule.method, "pattern": None if pattern is None else str(pattern)}
        | dict(facts or {}),
    )  # fmt: skip
    snapshots = Snapshots(banks, run, epoch=epoch, steps=steps, encoded=encoded)
    callback = MaskCallback(
        masking, curve, levels=levels, snapshots=snapshots, epoch=epoch, observed=observed
    )
    train(
        model, examples, partial(collate, pad_id=pad), callback.objective(objective),
        run=part, batch=schedule.batch, epochs=schedule.epochs, trainer=schedule.trainer,
        optimizer=schedule.optimizer, warmup_share=schedule.warmup_share, bucket=schedule.bucket,
        state={
            "method": schedule.method, "pattern": str(pattern), "final": masking.final,
            "begin": curve.begin, "end": curve.end, "score_lr": masks.score_lr, "every": masks.every,
        },
        callbacks=[callback], optimize=partial(_optimize, score_lr=masks.score_lr),
    )  # fmt: skip
    model.to(device)
    masking.decide(layers_of(model), masking.final)
    levels.save_last(model, steps)
    if run.writes:
        shutil.rmtree(part.checkpoints, ignore_errors=True)
        snapshots.forget()
    return levels_of(run.folder)


def _finished(run: Run) -> bool:
    return any(read_facts(folder).get("last") for folder in levels_of(run.folder))


def _some(count: int, seed: int) -> Sequence[int]:
    chosen = generator(seed, "observed examples").permutation(count)[:OBSERVED]
    return [int(place) for place in chosen]


def _optimize(module: nn.Module, options: OptimizerOptions, steps: int, *, score_lr: float) -> Any:
    """The optimiser with a rate of its own for scores, which never decay."""
    factor = score_lr / options.lr
    if factor == 1:
        factor = 1 + 1e-9  # or scores would be in the weights' group, and decay
    found = build_optimizer(
        module, options, steps=steps, rates=lambda name: factor if name.endswith(".scores") else 1.0
    )
    scores = {id(value) for name, value in module.named_parameters() if name.endswith(".scores")}
    for group in found["optimizer"].param_groups:
        if any(id(value) in scores for value in group["params"]):
            group["weight_decay"] = 0.0
    return found
