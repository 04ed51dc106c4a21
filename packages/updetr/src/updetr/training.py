"""What pre-training and fine-tuning share: length, precision, going on from the last checkpoint (ours)."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch

from nonet.data.batching import Batches, generator
from nonet.errors import RunFailed, UserError
from nonet.runs import Run
from nonet.training.callbacks import last_good
from nonet.training.checkpoints import StateOfRun, refuse_other_run
from nonet.training.data import StepData
from nonet.training.options import TrainerOptions
from nonet.training.trainer import build_trainer
from updetr.backbone_base import Backbone
from updetr.backbone_weights import load_backbone_weights
from updetr.backbones import RESNETS
from updetr.detector_config import DetectorConfig
from updetr.losses import SetLoss
from updetr.matching import Costs
from updetr.train_options import LossOptions, Match, ModelOptions

Say = Callable[[str], None]

RANDOM = (
    "WARNING: the backbone has random weights: give --backbone-weights (SwAV, MoCo, torchvision, timm), or "
    "train one with `updetr backbone`; pre-training of the transformer relies on a good, frozen one"
)


def length(trainer: TrainerOptions, epochs: float, batches: Batches) -> TrainerOptions:
    """The options with the steps of so many passes; as they are where epochs is 0."""
    if not epochs:
        return trainer
    return replace(trainer, steps=max(1, round(epochs * batches.steps(0) / trainer.accumulate)))


def suitable(trainer: TrainerOptions, say: Say) -> TrainerOptions:
    """The options with a precision that this machine is not slowed down by; says so where it differs."""
    cpu = trainer.accelerator == "cpu" or not torch.cuda.is_available()
    fast = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    if trainer.precision != "bf16" or not cpu or fast():
        return trainer
    say("precision is bf16, which this processor computes several times slower than fp32: fp32 is taken")
    return replace(trainer, precision="fp32")


def open_run(verb: str, options: Any, *, resumed: Path | None, seed: int, state: Mapping[str, Any]) -> Run:
    """A new run, or one to go on with.

    Args:
        verb: what is done.
        options: of the verb; `out` is the new run's folder, or None.
        resumed: the run to go on with.
        seed: for the record.
        state: what is known by now of what a checkpoint must share with this call.

    Raises:
        UserError: the run had other settings, of which nothing is left in it; or the new folder is not empty.
    """
    refuse_other_run(resumed, {"seed": seed, "accumulate": options.trainer.accumulate, **state})
    if resumed is not None:
        return Run.resume(resumed, options)
    return Run.create("updetr", verb, options, seed=seed, folder=options.out)


def held_out(count: int, size: int, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the examples to train on, and of those kept for validation: `size`, at most a tenth."""
    order = generator(seed, "held out").permutation(count)
    kept = min(size, count // 10)
    return sorted(map(int, order[kept:])), sorted(map(int, order[:kept]))


def start_backbone(backbone: Backbone, options: ModelOptions, say: Say, *, started: bool) -> None:
    """Load the weights that the options name; where nothing gave it any, warn.

    Args:
        backbone: of the new detector.
        options: name the weights.
        say: takes the account.
        started: whether the weights come from a whole model, besides.
    """
    if options.backbone_weights is not None:
        load_backbone_weights(backbone, options.backbone_weights, say)
    elif not started and options.backbone in RESNETS:
        say(RANDOM)


def config_of(
    options: ModelOptions, config: DetectorConfig, init: str, *, free: tuple[str, ...] = ()
) -> DetectorConfig:
    """The configuration of a model to start from, with the dropout of the options if they change it.

    Args:
        options: sizes that differ from the defaults are compared with the model's.
        config: the model's.
        init: its name, for the error.
        free: names of sizes that may differ.

    Raises:
        UserError: the options ask for another architecture, backbone or size.
    """
    standard = ModelOptions()
    pairs = [(name, getattr(options, name), getattr(standard, name)) for name in ("arch", "backbone")]
    pairs += [
        (name, value, getattr(standard.size, name))
        for name, value in dataclasses.asdict(options.size).items()
        if name not in ("dropout", *free)
    ]
    for name, value, usual in pairs:
        theirs = getattr(config, name)
        if value not in (usual, theirs):
            raise UserError(f"{name} is {value}, but that of {init} is {theirs}: leave it out")
    if options.size.dropout != standard.size.dropout:
        config = replace(config, dropout=options.size.dropout)
    return config


def set_loss(
    detector: Any, weights: LossOptions, *, features: float = 0.0, group: int | None = None,
    match: Match = "global",
) -> SetLoss:  # fmt: skip
    """The loss of a detector.

    Args:
        detector: its classes count, and whether each has a probability of its own.
        weights: of the parts, but for the features'.
        features: weight of the reconstruction.
        group: queries of a patch; None: there are no patches.
        match: over all queries, or within groups.
    """
    sigmoid, iou_aware = detector.sigmoid, detector.config.arch == "rt-detr"
    label = 2.0 if sigmoid else 1.0
    own = 1.0 if iou_aware else label
    return SetLoss(
        classes=len(detector.config.labels), group=group, match=match, no_object=weights.no_object,
        sigmoid=sigmoid, iou_aware=iou_aware,
        class_weight=own if weights.classes is None else weights.classes,
        l1_weight=weights.boxes, giou_weight=weights.overlap, reconstruction_weight=features,
        costs=Costs(label=label),
    )  # fmt: skip


def fit(
    module: L.LightningModule,
    data: StepData,
    run: Run,
    trainer: TrainerOptions,
    *,
    state: Mapping[str, Any],
    monitor: str | None = None,
    mode: Literal["min", "max"] = "max",
    callbacks: Sequence[L.Callback] = (),
    label: str | None = None,
) -> Path:
    """Train in a run's folder; from its last checkpoint on if there is one.

    Args:
        module: what is trained.
        data: what it is trained on.
        run: where numbers and checkpoints go.
        trainer: length, devices, precision.
        state: plain values that a checkpoint must share with the call that goes on from it.
        monitor: the validated number that best.ckpt has the best of.
        mode: whether the least or the greatest is best.
        callbacks: more of them.
        label: beside the progress bar.

    Returns:
        The checkpoint to take the weights from: the best one, or the last where nothing is monitored.

    Raises:
        RunFailed: a loss is not finite, or memory does not suffice.
        UserError: a checkpoint of other settings.
    """
    engine = build_trainer(
        trainer, run, monitor=monitor, mode=mode, callbacks=[StateOfRun(**state), *callbacks], label=label
    )
    last = run.checkpoints / "last.ckpt"
    if not last.exists():
        run.rewind(0)  # lines of a session that was killed before its first checkpoint
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")  # frozen backbones are
            engine.fit(module, datamodule=data, ckpt_path=last if last.exists() else None)
    except torch.OutOfMemoryError as error:
        raise RunFailed(
            f"the device's memory does not suffice: lower batch (and raise trainer.accumulate), scales or "
            f"longest; {last_good(run)}"
        ) from error
    return engine.checkpoints.best_path


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of several runs; the deviation of one is 0."""
    array = np.asarray(values, np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else 0.0
