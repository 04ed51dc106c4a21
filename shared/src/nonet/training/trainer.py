"""The trainer of every package: Lightning's, set up so that a run can be stopped and resumed at any step.

One Lightning epoch is the whole run: the data goes on across its own epochs for ever (nonet.data.batching),
and `steps` ends it. Metrics, checkpoints and progress are ours and go to the run's folder.
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from nonet.runs import Run
from nonet.training.callbacks import FiniteLoss, Interrupts, Metrics, ShowProgress, ValidateAtEnd
from nonet.training.checkpoints import Checkpoints, StateOfRun, WholeFiles
from nonet.training.options import TrainerOptions
from nonet.training.seeds import SeedEveryStep
from nonet.training.strategies import (
    RunningMeans,
    choose_accelerator,
    choose_precision,
    global_mean,
    make_strategy,
    shard,
    sharded,
)

__all__ = ["RunningMeans", "Trainer", "build_trainer", "global_mean", "shard", "sharded"]


class Trainer(L.Trainer):  # type: ignore[misc]
    """Lightning's trainer, with two differences in `fit`.

    Checkpoints are read with `weights_only=True`, and an interruption (Ctrl-C, SIGTERM) leaves as
    KeyboardInterrupt, after last.ckpt is saved.

    Attributes:
        checkpoints: the callback that saves; it knows `best_path`, `last_path`, `best` and `best_step`.
    """

    checkpoints: Checkpoints

    def fit(
        self,
        model: L.LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: L.LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = True,
    ) -> None:
        """Train; from `ckpt_path` on if it is given.

        Raises:
            UserError: no such checkpoint, a damaged one, or one of a run with other settings.
            RunFailed: a loss or a weight is not finite.
            KeyboardInterrupt: the run was interrupted.
        """
        checkpoints = self.checkpoints
        try:
            super().fit(model, train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only)
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
        if checkpoints.interrupts.seen:
            raise KeyboardInterrupt
        if (
            checkpoints.pending
        ):  # interrupted in the validation after its last step: no step is left to resume with
            checkpoints.rewind(self)
            self.validate(model, val_dataloaders, datamodule=datamodule, verbose=False)
            checkpoints.settle(self)


def build_trainer(
    options: TrainerOptions,
    run: Run,
    *,
    monitor: str | None = None,
    mode: Literal["min", "max"] = "min",
    callbacks: Sequence[L.Callback] = (),
    label: str | None = None,
    skip: int = 0,
    unused: bool = False,
) -> Trainer:
    """A trainer that logs to a run's folder and keeps its checkpoints.

    Resume with `trainer.fit(module, datamodule=data, ckpt_path=run.checkpoints / "last.ckpt")`.

    Args:
        options: devices, length, intervals, precision.
        run: where metrics and checkpoints go.
        monitor: the validated number that best.ckpt has the best of, such as `"val/loss"`.
        mode: whether the least or the greatest is best.
        callbacks: more of them; they run after ours but before checkpoints are saved.
        label: beside the progress bar; the run's verb by default.
        skip: 0: the first loss that is not finite ends the run; n: such steps are skipped and counted, and n
            in succession end it.
        unused: some steps leave weights out, such as norms of another data set, which data parallelism has to
            be told; such weights stay as they are.

    Raises:
        UserError: devices or precision that this machine does not have.
    """
    accelerator = choose_accelerator(options)
    precision = choose_precision(options, accelerator)
    _quiet()
    finite, interrupts = FiniteLoss(run, options.log_every, skip), Interrupts()
    checkpoints = Checkpoints(
        run, every=options.checkpoint_every, monitor=monitor, mode=mode, finite=finite, interrupts=interrupts
    )
    ours = [
        StateOfRun(seed=options.seed, accumulate=options.accumulate),
        interrupts,
        SeedEveryStep(options.seed),
        finite,
        Metrics(run, options.log_every, finite),
        ShowProgress(run.verb if label is None else label),
    ]
    plugins: list[Any] = [WholeFiles()]
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))
    batches = options.validate_every * options.accumulate
    trainer = Trainer(
        accelerator=accelerator,
        devices=options.devices if accelerator == "cuda" or options.devices != "auto" else 1,
        num_nodes=options.nodes,
        strategy=make_strategy(options, accelerator, unused=unused),
        precision=precision,
        plugins=plugins,
        callbacks=[*ours, *callbacks, ValidateAtEnd(), checkpoints],
        max_steps=options.steps,
        max_epochs=-1,
        accumulate_grad_batches=options.accumulate,
        gradient_clip_val=options.clip,
        val_check_interval=batches or options.steps * options.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic=options.deterministic,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run.folder,
    )
    trainer.checkpoints = checkpoints
    return trainer


def _quiet() -> None:
    """Leave out what Lightning says about itself, and a warning of torch about Lightning's own code."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=r".*LeafSpec.* is deprecated", category=FutureWarning)
    warnings.filterwarnings("ignore", message=r".*validation_step.* but have no .val_dataloader")
